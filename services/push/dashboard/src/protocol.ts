// What push and the dashboard say to each other (services/push/README.md), and the rows of the views.

export interface Stamps {
  origin_ns: number;
  processed_ns: number;
  committed_ns: number;
}

export interface Delta {
  topic: string;
  seq: number;
  prev: number;
  rows: Record<string, unknown>; // null: the key is gone
  stamps?: Stamps;
  traceparent?: string;
}

export interface Figures {
  p50_ms: number | null; // null: no samples
  p99_ms: number | null;
  max_ms: number | null;
  n: number;
}

export type Clock = "processed" | "committed" | "painted";
export type Path = "market" | "orders";

export type RedisState = "ok" | "full" | "read-only" | "evicting" | "unreachable" | "unknown";
export type WriterState = "live" | "filling" | "partial" | "lost" | "silent" | "unknown";

/** How far the views of one writer have come; `as_of_ns` 0: not known. */
export interface WriterStatus {
  state: WriterState;
  as_of_ns: number;
  epoch: number;
  partitions: number;
  heard: number;
  redis: RedisState;
  views: string[];
}

export interface Status {
  op: "health";
  now_ns: number;
  redis: { up: boolean; state?: RedisState; policy?: string; since_ns: number; behind: number };
  views?: Record<string, WriterStatus>; // by "service.stage"
  clients: number;
  latency: Record<Path, Record<Clock, Figures>>;
}

/** Who the client is, where anybody is asked. */
export interface Me {
  subject: string;
  client: string;
  roles: string[];
  accounts: string[];
  expires_s: number | null;
}

export type ServerMessage =
  | { op: "hello"; v: number; session: number; now_ns: number; frames_per_s_max: number }
  | { op: "snapshot"; topic: string; epoch: number; seq: number; rows: Record<string, unknown> }
  | { op: "frame"; deltas: Delta[]; sent_ns: number }
  | { op: "pong"; t: number; now_ns: number }
  | ({ op: "me" } & Me)
  | { op: "error"; reason: string; topic?: string }
  | Status;

export type PaintedSample = [origin_ns: number, committed_ns: number, painted_ns: number, view: string, traceparent: string];

export interface Quote {
  symbol: string;
  bid_e4: number;
  bid_size: number;
  ask_e4: number;
  ask_size: number;
  last_e4: number;
  open_e4: number;
  volume: number;
  trading_state: string;
  event_ns: number;
}

export interface Book {
  symbol: string;
  bids: [price_e4: number, size: number][];
  asks: [price_e4: number, size: number][];
  event_ns: number;
}

export interface Bar {
  symbol: string;
  window_start_ns: number;
  window_ns: number;
  open_e4: number;
  high_e4: number;
  low_e4: number;
  close_e4: number;
  volume: number;
  trades: number;
  notional_e4: number;
  vwap_e4: number;
  revision: number;
  closed: boolean;
}

/** A market alert (docs/alerts.md) as its newest row says it. */
export interface Alert {
  symbol: string;
  kind: string;
  severity: string;
  phase: string;
  begin_ns: number;
  peak_ns: number;
  end_ns: number; // 0: it goes on
  peak_ppm: number;
  threshold_ppm: number;
  numbers: Record<string, number>; // what was compared at the peak
}

export interface Account {
  account_id: string;
  status: string;
  cash_e4: bigint;
  reserved_cash_e4: bigint;
  positions: { symbol: string; qty: bigint; reserved_qty: bigint }[];
  seq: number;
}

/** What an account has made since it began, as the orders API folds the ledger up to `seq`. */
export interface Profit {
  account_id: string;
  seq: number;
  realised_average_e4: bigint;
  positions: { symbol: string; qty: bigint; cost_average_e4: bigint }[];
}

export type Side = "B" | "S";

export type TimeInForce = "DAY" | "IOC" | "FOK" | "GTC" | "GTD";

export interface Order {
  order_id: string;
  account_id: string;
  client_order_id: string;
  symbol: string;
  side: Side;
  order_type: "LIMIT" | "MARKET";
  time_in_force: TimeInForce;
  qty: bigint;
  limit_price_e4?: bigint | null;
  state: string;
  cum_qty: bigint;
  leaves_qty: bigint;
  notional_e4: bigint;
  reason?: string | null;
  text: string;
  revision: number;
  sent_ns: number;
  updated_ns: number;
  decided_ns?: number; // by the gate's clock; 0: not said
  intent_offset?: number; // place of the order in its account's log; -1: not said
  min_qty?: bigint | null; // shares that trade at once, or none does
  expire_ns?: number | null; // of a GTD order, by the exchange's time
}

/** An execution report; those of the fill view are trades. */
export interface Fill {
  execution_id: string;
  exec_type: string;
  order_id: string;
  account_id: string;
  symbol: string;
  side: Side;
  last_qty: bigint;
  last_price_e4: bigint;
  cum_qty: bigint;
  leaves_qty: bigint;
  venue_ns: number;
  text: string;
}

/** An execution report that the books refuse, until an operator resolves it. */
export interface Break {
  break_id: string;
  account_id: string;
  order_id: string;
  reason: string;
  compared: Record<string, number | bigint>;
  parked: boolean; // the order has moved, only its money waits
  effect: { fill_qty: bigint; fill_price_e4: bigint; back_qty: bigint; back_price_e4: bigint; ends: boolean };
  report: Fill;
  opened_ns: number;
}

export interface Health {
  service: string;
  worker: string;
  ready: boolean;
  detail: Record<string, unknown>;
  at_ns: number;
}

export const OPEN_STATES: ReadonlySet<string> = new Set(["ACCEPTED", "WORKING", "PARTIALLY_FILLED", "PENDING_CANCEL"]);
