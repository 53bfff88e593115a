/** RFC 4180, with a byte order mark so that spreadsheets read UTF-8. */
export function csv(head: readonly string[], rows: Iterable<readonly (string | number | bigint)[]>): string {
  const lines = [head, ...rows].map((cells) => cells.map(cell).join(","));
  return `\ufeff${lines.join("\r\n")}\r\n`;
}

/** A text that a spreadsheet would run as a formula is given to it as a text. */
function cell(value: string | number | bigint): string {
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Hands a text to the browser as a file to keep. */
export function download(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
