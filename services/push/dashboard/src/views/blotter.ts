import { panel, Text } from "../dom";
import { price, timeOfDay, whole } from "../format";
import type { OrdersApi } from "../orders_api";
import type { View } from "../painter";
import { type Fill, OPEN_STATES, type Order } from "../protocol";
import type { Store } from "../store";
import { Table } from "../table";

const CANCEL_COLUMN = 8;
const STATE_NAMES: Record<string, string> = { PARTIALLY_FILLED: "PART FILLED", PENDING_CANCEL: "CANCELING" };
const sideClass = (side: string): string => (side === "B" ? "side up" : "side down");
const sideName = (side: string): string => (side === "B" ? "BUY" : "SELL");
const shortId = (orderId: string): string => orderId.slice(orderId.indexOf(".") + 1);

function stateClass(state: string): string {
  if (state === "DENIED" || state === "REJECTED") return "state down";
  if (state === "FILLED") return "state up";
  return OPEN_STATES.has(state) ? "state open" : "state dim";
}

/** The account's orders, newest first, open ones on top; what is open can be canceled. */
export class OrdersTable implements View {
  readonly parts = ["orders", "choice"] as const;
  readonly root: HTMLElement;
  private readonly count = new Text("count");
  private readonly table: Table<Order>;
  private readonly canceling = new Map<string, string>(); // order id → what became of the request

  constructor(
    private readonly store: Store,
    private readonly api: OrdersApi,
    private readonly choose: (symbol: string) => void,
  ) {
    const { root, body } = panel("Orders", "orders", this.count.node);
    this.root = root;
    this.table = this.build();
    body.append(this.table.root);
  }

  paint(): void {
    const open: Order[] = [];
    const closed: Order[] = [];
    for (const order of this.store.orders.values()) (OPEN_STATES.has(order.state) ? open : closed).push(order);
    const newest = (a: Order, b: Order): number => b.sent_ns - a.sent_ns;
    this.count.set(`${open.length} open · ${open.length + closed.length}`);
    this.table.show([...open.sort(newest), ...closed.sort(newest)]);
  }

  private async cancel(order: Order): Promise<void> {
    if (!OPEN_STATES.has(order.state) || this.canceling.get(order.order_id) === "…") return;
    this.canceling.set(order.order_id, "…");
    this.store.touch("orders");
    const answer = await this.api.cancel(order.order_id);
    if (answer.kind === "accepted") this.canceling.delete(order.order_id);
    else this.canceling.set(order.order_id, answer.title);
    this.store.touch("orders");
  }

  private build(): Table<Order> {
    return new Table<Order>({
      rowHeight: 21,
      keyOf: (order) => order.order_id,
      rowClass: (order) => (OPEN_STATES.has(order.state) ? "working" : "ended"),
      empty: "No orders",
      onClick: (order, column) => (column === CANCEL_COLUMN ? void this.cancel(order) : this.choose(order.symbol)),
      columns: [
        { title: "Time", className: "dim", paint: (c, o) => void c.set(timeOfDay(o.sent_ns)) },
        { title: "Side", paint: (c, o) => void c.set(sideName(o.side), sideClass(o.side)) },
        { title: "Symbol", className: "symbol", paint: (c, o) => void c.set(o.symbol) },
        {
          title: "Filled / Qty",
          className: "num",
          paint: (c, o) => void c.set(o.cum_qty && o.cum_qty < o.qty ? `${whole(o.cum_qty)} / ${whole(o.qty)}` : whole(o.qty)),
        },
        {
          title: "Limit",
          className: "num",
          paint: (c, o) => void c.set(o.order_type === "MARKET" ? "MKT" : price(o.limit_price_e4)),
        },
        {
          title: "Avg",
          className: "num",
          hint: "Average price of the fills",
          paint: (c, o) => void c.set(o.cum_qty ? (o.notional_e4 / o.cum_qty / 10_000).toFixed(2) : "–"),
        },
        { title: "TIF", className: "dim", paint: (c, o) => void c.set(o.time_in_force) },
        { title: "State", paint: (c, o) => this.paintState(c, o) },
        { title: "", className: "cancel", paint: (c, o) => this.paintCancel(c, o) },
      ],
    });
  }

  private paintState(cell: Text, order: Order): void {
    const name = STATE_NAMES[order.state] ?? order.state;
    const refusal = OPEN_STATES.has(order.state) ? this.canceling.get(order.order_id) : undefined;
    const why = order.reason ?? order.text;
    // A reason is a denial's better name; the column has room for one of them.
    if (refusal && refusal !== "…") cell.set(refusal, "state refused");
    else cell.set(order.reason?.replaceAll("_", " ") ?? name, stateClass(order.state));
    const hint = [name, shortId(order.order_id), order.time_in_force, why].filter(Boolean).join(" · ");
    if (cell.node.title !== hint) cell.node.title = hint;
  }

  private paintCancel(cell: Text, order: Order): void {
    const open = OPEN_STATES.has(order.state) && this.api.available;
    cell.set(!open ? "" : this.canceling.get(order.order_id) === "…" ? "…" : "✕", open ? "cancel active" : "cancel");
  }
}

/** The account's fills, newest first. */
export class FillsTable implements View {
  readonly parts = ["fills", "choice"] as const;
  readonly root: HTMLElement;
  private readonly count = new Text("count");
  private readonly table: Table<Fill>;

  constructor(
    private readonly store: Store,
    choose: (symbol: string) => void,
  ) {
    const { root, body } = panel("Fills", "fills", this.count.node);
    this.root = root;
    this.table = new Table<Fill>({
      rowHeight: 21,
      keyOf: (fill) => fill.execution_id,
      empty: "No fills",
      onClick: (fill) => choose(fill.symbol),
      columns: [
        { title: "Time", className: "dim", paint: (c, f) => void c.set(timeOfDay(f.venue_ns)) },
        { title: "Side", paint: (c, f) => void c.set(sideName(f.side), sideClass(f.side)) },
        { title: "Symbol", className: "symbol", paint: (c, f) => void c.set(f.symbol) },
        { title: "Qty", className: "num", paint: (c, f) => void c.set(whole(f.last_qty)) },
        { title: "Price", className: "num", paint: (c, f) => void c.set(price(f.last_price_e4)) },
      ],
    });
    body.append(this.table.root);
  }

  paint(): void {
    const fills = [...this.store.fills.values()].sort((a, b) => b.venue_ns - a.venue_ns);
    this.count.set(String(fills.length));
    this.table.show(fills);
  }
}
