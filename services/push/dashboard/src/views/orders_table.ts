import type { Text } from "../dom";
import { money, price, timeOfDay, whole } from "../format";
import { describe } from "../order_draft";
import type { OrdersApi } from "../orders_api";
import type { View } from "../painter";
import type { Order } from "../protocol";
import type { Store } from "../store";
import { Blotter, type BlotterColumn } from "./blotter";
import { averageE4, decidedNs, decimalE4, isoTime, isOpen, newestFirst, nothing, shortId, sideClass, sideWord, stateClass, stateWord } from "./order_words";

const EXPORTED = [
  "order_id", "decided", "sent", "updated", "symbol", "side", "type", "time_in_force", "qty", "cum_qty", "leaves_qty", "limit_price", "average_price", "state", "reason", "text",
];

type Announce = (text: string, tone: "good" | "bad") => void;

/** The account's orders, by the time at which the gate decided on them, open ones on top; what is open can be canceled. */
export class OrdersTable implements View {
  readonly parts = ["orders", "choice", "account", "status", "link"] as const;
  private readonly blotter: Blotter<Order>;
  private readonly canceling = new Map<string, string>(); // order id → what became of the request

  constructor(
    private readonly store: Store,
    private readonly api: OrdersApi,
    choose: (symbol: string) => void,
    private readonly open: (order: Order) => void,
    private readonly announce: Announce,
    private readonly nowMs: () => number,
  ) {
    this.blotter = new Blotter<Order>({
      title: "Orders",
      name: "Orders",
      rowHeight: 21,
      keyOf: (order) => order.order_id,
      rowClass: (order) => (isOpen(order) ? "working" : "ended"),
      empty: "",
      onClick: (order) => choose(order.symbol),
      onOpen: open,
      onDelete: (order) => void this.cancel(order),
      columns: this.columns(),
      texts: (order) => [sideWord(order.side), order.symbol, stateWord(order.state), order.reason ?? "", order.time_in_force, shortId(order.order_id)],
      exported: { head: EXPORTED, cells: exportedCells },
      fileName: () => `orders-${store.choice.account}.csv`,
    });
  }

  get root(): HTMLElement {
    return this.blotter.root;
  }

  paint(): void {
    const open: Order[] = [];
    const closed: Order[] = [];
    for (const order of this.store.orders.values()) (isOpen(order) ? open : closed).push(order);
    for (const id of this.canceling.keys()) if (!this.store.orders.has(id)) this.canceling.delete(id);
    this.blotter.empty = nothing(this.store, "order", "No orders", this.nowMs());
    this.blotter.show([...open.sort(newestFirst), ...closed.sort(newestFirst)], `${open.length} open · ${open.length + closed.length}`);
  }

  private async cancel(order: Order): Promise<void> {
    if (!isOpen(order) || !this.api.available || this.canceling.get(order.order_id) === "…") return;
    this.canceling.set(order.order_id, "…");
    this.store.touch("orders");
    const answer = await this.api.cancel(order.order_id);
    const what = `${describeOrder(order)}, account ${order.account_id}`;
    if (answer.kind === "accepted") {
      this.canceling.delete(order.order_id);
      this.announce(`${answer.title || "Canceled"}: ${what}`, "good");
    } else {
      this.canceling.set(order.order_id, answer.title);
      this.announce(`Not canceled: ${what}, ${answer.title}`, "bad");
    }
    this.store.touch("orders");
  }

  private columns(): BlotterColumn<Order>[] {
    return [
      { title: "Time", className: "dim time", hint: "When the gate decided on it", paint: (c, o) => void c.set(timeOfDay(decidedNs(o))), value: decidedNs },
      { title: "Side", paint: (c, o) => void c.set(sideWord(o.side), sideClass(o.side)), value: (o) => o.side },
      { title: "Symbol", className: "symbol", paint: (c, o) => void c.set(o.symbol), value: (o) => o.symbol },
      {
        title: "Filled / Qty",
        className: "num",
        paint: (c, o) => void c.set(o.cum_qty && o.cum_qty < o.qty ? `${whole(o.cum_qty)} / ${whole(o.qty)}` : whole(o.qty)),
        value: (o) => o.qty,
      },
      {
        title: "Limit",
        className: "num",
        paint: (c, o) => void c.set(o.order_type === "MARKET" ? "MKT" : price(o.limit_price_e4)),
        value: (o) => o.limit_price_e4 ?? 0n,
      },
      {
        title: "Avg",
        className: "num average",
        hint: "Average price of the fills",
        paint: (c, o) => void c.set(o.cum_qty ? money(averageE4(o)) : "–"),
        value: averageE4,
      },
      { title: "TIF", className: "dim tif", paint: (c, o) => void c.set(o.time_in_force), value: (o) => o.time_in_force },
      { title: "State", paint: (c, o) => this.paintState(c, o), value: (o) => o.reason ?? o.state },
      { title: "", label: "History", className: "history", paint: (c) => paintButton(c, "⋯", "History", "history active"), act: this.open },
      { title: "", label: "Cancel", className: "cancel", paint: (c, o) => this.paintCancel(c, o), act: (o) => void this.cancel(o) },
    ];
  }

  private paintState(cell: Text, order: Order): void {
    const name = stateWord(order.state);
    const refusal = isOpen(order) ? this.canceling.get(order.order_id) : undefined;
    const why = order.reason ?? order.text;
    // A reason is a denial's better name; the column has room for one of them.
    if (refusal && refusal !== "…") cell.set(refusal, "state refused");
    else cell.set(order.reason?.replaceAll("_", " ") ?? name, stateClass(order.state));
    const hint = [name, shortId(order.order_id), order.time_in_force, why].filter(Boolean).join(" · ");
    if (cell.node.title !== hint) cell.node.title = hint;
  }

  private paintCancel(cell: Text, order: Order): void {
    if (!isOpen(order) || !this.api.available) return paintButton(cell, "", "", "cancel");
    const asked = this.canceling.get(order.order_id) === "…";
    paintButton(cell, asked ? "…" : "✕", `${asked ? "Canceling" : "Cancel"} ${describeOrder(order)}`, "cancel active");
  }
}

function paintButton(cell: Text, text: string, label: string, className: string): void {
  cell.set(text, className);
  if (cell.node.ariaLabel === label) return;
  if (label) cell.node.setAttribute("aria-label", label);
  else cell.node.removeAttribute("aria-label");
}

function describeOrder({ limit_price_e4, ...order }: Order): string {
  return describe(limit_price_e4 === undefined || limit_price_e4 === null ? order : { ...order, limit_price_e4 });
}

function exportedCells(order: Order): (string | bigint)[] {
  return [
    order.order_id, isoTime(decidedNs(order)), isoTime(order.sent_ns), isoTime(order.updated_ns), order.symbol, sideWord(order.side), order.order_type, order.time_in_force,
    order.qty, order.cum_qty, order.leaves_qty, decimalE4(order.limit_price_e4), order.cum_qty ? decimalE4(averageE4(order)) : "",
    order.state, order.reason ?? "", order.text,
  ];
}
