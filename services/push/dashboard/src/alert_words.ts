// How market alerts are put into words: docs/alerts.md says what each kind compares.

import { percent, price, whole } from "./format";
import type { Alert } from "./protocol";

const SHARES: ReadonlySet<string> = new Set(["HIGH_VOLATILITY", "PRICE_JUMP", "CROSSED_BOOK"]);
const GRADES = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];

export const goesOn = (alert: Alert): boolean => alert.end_ns === 0;
export const gravity = (alert: Alert): number => GRADES.indexOf(alert.severity);
export const kindWords = (kind: string): string => kind.replaceAll("_", " ");

/** The greatest number so far, and above which one it began: a share in percent, everything else as it is. A pattern
 *  of orders compares nothing: its number is how often it has matched.
 */
export function comparison({ kind, peak_ppm, threshold_ppm }: Alert): string {
  if (threshold_ppm === 0) return peak_ppm === 1e6 ? "matched once" : `matched ${whole(peak_ppm / 1e6)} times`;
  const said = (ppm: number): string => (SHARES.has(kind) ? `${percent(ppm / 10_000).replace("+", "")} %` : (ppm / 1e6).toFixed(2));
  return `${said(peak_ppm)}, above ${said(threshold_ppm)}`;
}

/** What was compared at the peak. */
export function alertNumbers({ numbers }: Alert): string[] {
  return Object.entries(numbers).map(([name, value]) => {
    const label = name.replace(/_(e4|ns)$/, "").replaceAll("_", " ");
    if (name.endsWith("_e4")) return `${label} ${value < 0 ? `−${price(-value)}` : price(value)}`;
    return name.endsWith("_ns") ? `${label} ${(value / 1e9).toFixed(1)} s` : `${label} ${whole(value)}`;
  });
}

/** Those that go on first, the gravest of them first; then the newest. */
export function inOrder(alerts: Iterable<Alert>): Alert[] {
  const place = (alert: Alert): number => (goesOn(alert) ? 1 + gravity(alert) : 0);
  return [...alerts].sort((a, b) => place(b) - place(a) || b.begin_ns - a.begin_ns || a.symbol.localeCompare(b.symbol));
}
