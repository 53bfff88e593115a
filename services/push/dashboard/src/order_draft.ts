// The order that a ticket stands for: what its button says, and what is sent when it is pressed.

import { money, price, whole } from "./format";
import type { Side, TimeInForce } from "./protocol";

export interface Draft {
  account_id: string;
  symbol: string;
  side: Side;
  order_type: "LIMIT" | "MARKET";
  time_in_force: TimeInForce;
  qty: bigint;
  limit_price_e4?: bigint;
}

export interface OrderRequest extends Draft {
  /** Made once for each order that a person means to send; the same order sent again carries the same id. */
  client_order_id: string;
}

export const sideName = (side: Side): string => (side === "B" ? "Buy" : "Sell");

/** "Buy 1,500 AAPL @ 271.40" */
export function describe({ side, qty, symbol, limit_price_e4 }: Draft): string {
  const at = limit_price_e4 === undefined ? "at market" : `@ ${price(limit_price_e4)}`;
  return `${sideName(side)} ${whole(qty)} ${symbol} ${at}`;
}

/** Whether both are the same order but for its id. */
export function sameOrder(a: Draft, b: Draft): boolean {
  return ORDER_FIELDS.every((name) => a[name] === b[name]);
}

const ORDER_FIELDS = ["account_id", "symbol", "side", "order_type", "time_in_force", "qty", "limit_price_e4"] as const;

export const orderIdOf = (order: OrderRequest): string => `${order.account_id}.${order.client_order_id}`;

export interface Touch {
  bid_e4: number;
  ask_e4: number;
  last_e4: number;
}

/** What an order would move at most by the quote: at its limit, or at the touch. 0 where nothing is known. */
export function notionalE4(draft: Draft, touch: Touch | undefined): bigint {
  const market = draft.side === "B" ? touch?.ask_e4 : touch?.bid_e4;
  return draft.qty * (draft.limit_price_e4 ?? BigInt(market || touch?.last_e4 || 0));
}

/** Above which an order is asked about before it is sent. Undefined: never for this reason. */
export interface Limits {
  qty?: bigint | undefined;
  notional_e4?: bigint | undefined;
  /** Hundredths of a percent that a limit may lie on the far side of the quote: a buy above the ask, a sell below the bid. */
  through_e2?: bigint | undefined;
  /** Hundredths of a percent that a limit may lie on the near side: a buy below the bid, a sell above the ask. */
  away_e2?: bigint | undefined;
}

/** Why a person should look twice before this order goes out; empty for an everyday order. */
export function cautions(draft: Draft, touch: Touch | undefined, current: boolean, limits: Limits): string[] {
  const found: string[] = [];
  const notional = notionalE4(draft, touch);
  if (limits.qty !== undefined && draft.qty > limits.qty) found.push(`${whole(draft.qty)} shares are more than ${whole(limits.qty)}`);
  if (limits.notional_e4 !== undefined && notional > limits.notional_e4) {
    found.push(`${money(notional)} is more than ${money(limits.notional_e4)}`);
  }
  if (!current) found.push("The prices on this screen are not current");
  const far = draft.limit_price_e4 === undefined ? undefined : distance(draft.side, draft.limit_price_e4, touch, limits);
  if (far) found.push(far);
  return found;
}

function distance(side: Side, limit: bigint, touch: Touch | undefined, limits: Limits): string | undefined {
  const last = BigInt(touch?.last_e4 || 0);
  const ask = BigInt(touch?.ask_e4 || 0) || last;
  const bid = BigInt(touch?.bid_e4 || 0) || last;
  const [across, near] = side === "B" ? [ask, bid] : [bid, ask];
  if (limits.through_e2 !== undefined && !across) return "There is no quote to compare the price with";
  const [through, away] = side === "B" ? [limit - across, near - limit] : [across - limit, limit - near];
  const name = (level: bigint, quoted: number | undefined, own: string): string => `${quoted ? own : "last sale"} ${price(level)}`;
  if (across && exceeds(through, across, limits.through_e2)) {
    const level = side === "B" ? name(across, touch?.ask_e4, "ask") : name(across, touch?.bid_e4, "bid");
    return `The price is ${percent(through, across)} % ${side === "B" ? "above" : "below"} the ${level}`;
  }
  if (near && exceeds(away, near, limits.away_e2)) {
    const level = side === "B" ? name(near, touch?.bid_e4, "bid") : name(near, touch?.ask_e4, "ask");
    return `The price is ${percent(away, near)} % ${side === "B" ? "below" : "above"} the ${level}`;
  }
  return undefined;
}

const exceeds = (by: bigint, level: bigint, limitE2: bigint | undefined): boolean => limitE2 !== undefined && by * 10_000n > limitE2 * level;

const percent = (by: bigint, level: bigint): string => money((by * 1_000_000n) / level);
