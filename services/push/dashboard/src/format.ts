// Numbers as a desk reads them. Values come as integers in 1e-4 units, times in ns since the epoch.

const groups = new Intl.NumberFormat("en-US");
const exchangeTime = new Intl.DateTimeFormat("en-GB", {
  timeZone: "America/New_York",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const exchangeMinute = new Intl.DateTimeFormat("en-GB", { timeZone: "America/New_York", hour: "2-digit", minute: "2-digit" });
const exchangeDay = new Intl.DateTimeFormat("en-CA", { timeZone: "America/New_York" });
const localTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The price increment of Reg NMS rule 612: a cent, and 1e-4 below one dollar. */
export function tickE4(priceE4: number): number {
  return priceE4 >= 10_000 ? 100 : 1;
}

export function price(e4: number | null | undefined): string {
  if (!e4) return "–";
  return (e4 / 10_000).toFixed(e4 % 100 === 0 ? 2 : 4);
}

export function money(e4: number): string {
  const cents = Math.round(Math.abs(e4) / 100);
  const fraction = String(cents % 100).padStart(2, "0");
  return `${e4 < 0 ? "−" : ""}${groups.format(Math.floor(cents / 100))}.${fraction}`;
}

export function whole(value: number): string {
  return groups.format(value);
}

/** 1,234,567 as 1.23M: for columns that are scanned, not read. */
export function compact(value: number): string {
  if (value < 10_000) return groups.format(value);
  if (value < 1_000_000) return `${(value / 1000).toFixed(value < 100_000 ? 1 : 0)}K`;
  return value < 1e9 ? `${(value / 1e6).toFixed(2)}M` : `${(value / 1e9).toFixed(2)}B`;
}

export function percent(value: number): string {
  const digits = Math.abs(value).toFixed(2);
  return digits === "0.00" ? digits : `${value > 0 ? "+" : "−"}${digits}`;
}

export function ms(value: number): string {
  if (value === 0) return "–";
  return value < 10 ? value.toFixed(1) : value < 10_000 ? value.toFixed(0) : `${(value / 1000).toFixed(0)}s`;
}

/** Exchange time of day, New York. */
export function timeOfDay(ns: number): string {
  return ns ? exchangeTime.format(ns / 1e6) : "–";
}

export function timeOfDayMs(ns: number): string {
  return ns ? `${exchangeTime.format(ns / 1e6)}.${String(Math.floor(ns / 1e6) % 1000).padStart(3, "0")}` : "–";
}

export function minuteOfDay(ns: number): string {
  return exchangeMinute.format(ns / 1e6);
}

export function day(ns: number): string {
  return ns ? exchangeDay.format(ns / 1e6) : "";
}

export function clockTime(msSinceEpoch: number): string {
  return localTime.format(msSinceEpoch);
}

/** The numbers behind a verdict: units are in their names. */
export function compared(name: string, value: number): string {
  const label = name.replace(/_(e4|ns|ms|qty)$/, "").replaceAll("_", " ");
  if (name.endsWith("_e4")) return `${label} ${money(value)}`;
  if (name.endsWith("_ns")) return `${label} ${timeOfDayMs(value)}`;
  if (name.endsWith("_ms")) return `${label} ${whole(value)} ms`;
  return `${label} ${whole(value)}`;
}
