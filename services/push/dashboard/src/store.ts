import type { AccountState } from "./account_check";
import { isLive } from "./freshness";
import type { LinkState } from "./link";
import type { Account, Alert, Bar, Book, Break, Delta, Fill, Health, Order, Profit, Quote, Status } from "./protocol";
import { WINDOWS } from "./windows";

/** Parts of the screen that are painted independently of each other. */
export type Part = "quotes" | "book" | "bars" | "orders" | "fills" | "breaks" | "alerts" | "account" | "health" | "status" | "link" | "choice";

const PART_OF: Record<string, Part> = {
  quote: "quotes",
  book: "book",
  bar: "bars",
  order: "orders",
  fill: "fills",
  break: "breaks",
  alert: "alerts",
  account: "account",
  health: "health",
};

const ACCOUNT_VIEWS = ["account", "order", "fill", "break"];

export interface Choice {
  symbol: string;
  account: string;
  windowNs: number;
}

/** Everything that is known. Messages change it at once; the painter shows it once per display frame. */
export class Store {
  readonly quotes = new Map<string, Quote>();
  readonly bars = new Map<string, Bar>();
  readonly orders = new Map<string, Order>();
  readonly fills = new Map<string, Fill>();
  readonly breaks = new Map<string, Break>();
  readonly alerts = new Map<string, Alert>();
  readonly health = new Map<string, Health>();
  book: Book | undefined;
  account: Account | undefined;
  accountState: AccountState = "none";
  profit: Profit | undefined;
  status: Status | undefined;
  link: LinkState = "connecting";
  choice: Choice = { symbol: "", account: "", windowNs: WINDOWS[0].ns };
  feedNs = 0; // exchange time of the newest quote
  quotedAt = 0; // performance.now() when a quote last came
  rows = 0; // rows applied since the start
  frames = 0;
  /** Bars changed since the chart was last painted; `barsReset` means: all of them. */
  readonly changedBars = new Map<string, Bar>();
  barsReset = true;
  /** Views of which a snapshot has come; of the account, for the one that is chosen. */
  private readonly given = new Set<string>();

  constructor(private readonly touched: (part: Part) => void) {}

  touch(part: Part): void {
    this.touched(part);
  }

  choose(choice: Partial<Choice>): void {
    const before = this.choice;
    this.choice = { ...before, ...choice };
    if (this.choice.symbol !== before.symbol) this.book = undefined;
    if (this.choice.symbol !== before.symbol || this.choice.windowNs !== before.windowNs) {
      this.bars.clear();
      this.changedBars.clear();
      this.barsReset = true;
    }
    if (this.choice.account !== before.account) {
      this.account = undefined;
      this.profit = undefined;
      this.orders.clear();
      this.fills.clear();
      this.breaks.clear();
      for (const view of ACCOUNT_VIEWS) this.given.delete(view);
    }
    for (const part of ["choice", "book", "bars", "orders", "fills", "breaks", "account", "quotes"] as const) this.touch(part);
  }

  /** Whether what is not among the rows of a view is not there: all of them have come, and they are current. */
  knows(view: string, nowMs: number): boolean {
    const connected = this.link !== "connecting" && this.link !== "offline";
    return connected && this.given.has(view) && isLive(this.status, view, nowMs);
  }

  /** A topic from scratch. */
  snapshot(topic: string, rows: Record<string, unknown>): void {
    const name = topic.split(":", 1)[0] ?? "";
    const map = this.mapOf(name);
    if (map) {
      for (const key of map.keys()) if (!(key in rows)) this.row(name, key, null);
    } else if (name === "book") this.book = undefined;
    else if (name === "account") this.account = undefined;
    if (name === "bar") {
      this.changedBars.clear();
      this.barsReset = true;
    }
    for (const key in rows) this.row(name, key, rows[key]);
    this.given.add(name);
    this.changed(name);
  }

  delta(delta: Delta): void {
    const name = delta.topic.split(":", 1)[0] ?? "";
    for (const key in delta.rows) this.row(name, key, delta.rows[key]);
    this.frames += 1;
    if (name === "quote") this.quotedAt = performance.now();
    this.changed(name);
  }

  private changed(name: string): void {
    const part = PART_OF[name];
    if (part) this.touch(part);
  }

  private mapOf(name: string): Map<string, unknown> | undefined {
    const maps: Record<string, Map<string, unknown>> = {
      quote: this.quotes,
      bar: this.bars,
      order: this.orders,
      fill: this.fills,
      break: this.breaks,
      alert: this.alerts,
      health: this.health,
    };
    return maps[name];
  }

  private row(name: string, key: string, data: unknown): void {
    this.rows += 1;
    if (name === "book") this.book = (data ?? undefined) as Book | undefined;
    else if (name === "account") this.account = (data ?? undefined) as Account | undefined;
    else {
      const map = this.mapOf(name);
      if (data === null) map?.delete(key);
      else map?.set(key, data);
    }
    if (name === "quote") {
      const eventNs = (data as Quote | null)?.event_ns ?? 0;
      if (eventNs > this.feedNs) this.feedNs = eventNs;
    } else if (name === "bar" && data !== null) this.changedBars.set(key, data as Bar);
  }
}
