// Numbers as a desk reads them, written alike in every language: a comma before thousands, a point before decimals.
// Values come as integers in 1e-4 units, times in ns since the epoch. A bigint is written to its last digit.

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
export function tickE4(priceE4: bigint): bigint {
  return priceE4 >= 10_000n ? 100n : 1n;
}

export function price(e4: number | bigint | null | undefined): string {
  if (!e4) return "–";
  if (typeof e4 === "number") return (e4 / 10_000).toFixed(e4 % 100 === 0 ? 2 : 4);
  const fraction = e4 % 100n === 0n ? digits((e4 % 10_000n) / 100n, 2) : digits(e4 % 10_000n, 4);
  return `${e4 / 10_000n}.${fraction}`;
}

export function money(e4: number | bigint): string {
  const exact = typeof e4 === "bigint" ? e4 : BigInt(Math.round(e4));
  const cents = ((exact < 0n ? -exact : exact) + 50n) / 100n;
  return `${exact < 0n ? "−" : ""}${groups.format(cents / 100n)}.${digits(cents % 100n, 2)}`;
}

/** Money with its cents, and without them from ten thousand on: for columns that are narrow. */
export function roundMoney(e4: bigint): string {
  const size = e4 < 0n ? -e4 : e4;
  if (size < 100_000_000n) return money(e4);
  return `${e4 < 0n ? "−" : ""}${groups.format((size + 5_000n) / 10_000n)}`;
}

export function whole(value: number | bigint): string {
  return groups.format(value);
}

function digits(value: bigint, width: number): string {
  return value.toString().padStart(width, "0");
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
export function compared(name: string, value: number | bigint): string {
  const label = name.replace(/_(e4|ns|ms|qty)$/, "").replaceAll("_", " ");
  if (name.endsWith("_e4")) return `${label} ${money(value)}`;
  if (name.endsWith("_ns")) return `${label} ${timeOfDayMs(Number(value))}`;
  if (name.endsWith("_ms")) return `${label} ${whole(value)} ms`;
  return `${label} ${whole(value)}`;
}
