// How orders and fills are put into words and classes.

import { OPEN_STATES, type Order, type Side } from "../protocol";
import type { Store } from "../store";

const STATE_NAMES: Record<string, string> = { PARTIALLY_FILLED: "PART FILLED", PENDING_CANCEL: "CANCELING" };

export const sideClass = (side: Side): string => (side === "B" ? "side up" : "side down");
export const sideWord = (side: Side): string => (side === "B" ? "BUY" : "SELL");
export const shortId = (orderId: string): string => orderId.slice(orderId.indexOf(".") + 1);
export const stateWord = (state: string): string => STATE_NAMES[state] ?? state.replaceAll("_", " ");
export const isOpen = (order: Order): boolean => OPEN_STATES.has(order.state);

/** When the gate decided on it. Nobody's clock but the servers' orders anything; an older version did not say it. */
export const decidedNs = (order: Order): number => order.decided_ns || order.updated_ns;
/** By the gate's clock, and within its resolution by the log. */
export const newestFirst = (a: Order, b: Order): number =>
  decidedNs(b) - decidedNs(a) || (b.intent_offset ?? -1) - (a.intent_offset ?? -1);

/** Stands in an empty list of the account: that there is nothing is said only where it is known. */
export function nothing(store: Store, view: string, none: string, nowMs: number): string {
  if (!store.choice.account) return "No account chosen";
  if (store.accountState === "unknown") return "No such account";
  return store.knows(view, nowMs) ? none : "Not known yet";
}

export function stateClass(state: string): string {
  if (state === "DENIED" || state === "REJECTED") return "state down";
  if (state === "FILLED") return "state up";
  return OPEN_STATES.has(state) ? "state open" : "state dim";
}

/** The average price of the fills in 1e-4 units, rounded; 0 where nothing was filled. */
export function averageE4(order: Pick<Order, "notional_e4" | "cum_qty">): bigint {
  return order.cum_qty ? (order.notional_e4 + order.cum_qty / 2n) / order.cum_qty : 0n;
}

/** ISO 8601 in UTC, for files. */
export const isoTime = (ns: number): string => (ns ? new Date(ns / 1e6).toISOString() : "");
/** Whole units and four decimals, for files. */
export function decimalE4(e4: bigint | null | undefined): string {
  if (e4 === null || e4 === undefined) return "";
  const digits = (e4 < 0n ? -e4 : e4).toString().padStart(5, "0");
  return `${e4 < 0n ? "-" : ""}${digits.slice(0, -4)}.${digits.slice(-4)}`;
}
