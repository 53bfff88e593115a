import { button, el } from "../dom";
import { day, money, price, timeOfDayMs, whole } from "../format";
import { describe } from "../order_draft";
import type { OrdersApi } from "../orders_api";
import type { Order } from "../protocol";
import { openDialog } from "./dialog";
import { averageE4, isOpen, shortId, stateClass, stateWord } from "./order_words";

/** Pages of an order's events that are shown. */
const PAGES_MAX = 10;

type Row = [at: string, what: string, detail: string];

/** An order and all that happened to it, in a dialog that follows the order's row no further. */
export async function openHistory(api: OrdersApi, known: Order): Promise<void> {
  const list = el("div", "history-rows");
  list.tabIndex = 0;
  list.setAttribute("role", "region");
  list.setAttribute("aria-label", "Events");
  const note = el("p", "note", "Reading the order's events …");
  const facts = el("dl", "facts");
  const dialog = openDialog(title(known), "history-dialog", [facts, list, note, el("div", "dialog-buttons", button("plain", "Close", () => dialog.close()))]);
  showFacts(facts, known);
  showRows(list, rowsOf([known]));
  if (!api.available) return void (note.textContent = "No orders API configured: only what the screen knows is shown");
  const { events, complete } = await read(api, known);
  showFacts(facts, events.at(-1) ?? known);
  showRows(list, rowsOf(events));
  note.textContent = complete ? "" : "Not every event could be read";
}

/** Every event up to the one that the screen knows, at least. */
async function read(api: OrdersApi, known: Order): Promise<{ events: Order[]; complete: boolean }> {
  const events: Order[] = [];
  let next: number | null | undefined = 0;
  for (let page = 0; page < PAGES_MAX && typeof next === "number"; page++) {
    const answer = await api.orderEvents(known.order_id, next);
    if (answer.kind !== "found") break;
    events.push(...answer.value.items);
    next = answer.value.next;
  }
  if ((events.at(-1)?.revision ?? 0) < known.revision) events.push(known);
  return { events, complete: events.every(({ revision }, index) => revision === index + 1) };
}

function title({ limit_price_e4, ...order }: Order): string {
  return describe(limit_price_e4 === undefined || limit_price_e4 === null ? order : { ...order, limit_price_e4 });
}

function rowsOf(events: Order[]): Row[] {
  const [first] = events;
  if (!first) return [];
  const sent: Row = [timeOfDayMs(first.sent_ns), "Sent", `${first.order_type} · ${first.time_in_force} · ${whole(first.qty)}`];
  return [sent, ...events.map((event, index): Row => [timeOfDayMs(event.updated_ns), stateWord(event.state), detail(event, events[index - 1])])];
}

/** What the event says, and what has changed since the one before. */
function detail(event: Order, before: Order | undefined): string {
  const next = before?.revision === event.revision - 1 ? before : undefined;
  const qty = next ? event.cum_qty - next.cum_qty : 0n;
  const traded = next && qty ? `${whole(qty)} @ ${price(averageE4({ notional_e4: event.notional_e4 - next.notional_e4, cum_qty: qty }))}` : "";
  const filled = event.cum_qty ? `filled ${whole(event.cum_qty)}` : "";
  const open = isOpen(event) ? `open ${whole(event.leaves_qty)}` : "";
  return [traded, filled, open, event.reason?.replaceAll("_", " "), event.text].filter(Boolean).join(" · ") || `revision ${event.revision}`;
}

function showRows(list: HTMLElement, rows: Row[]): void {
  list.replaceChildren(
    ...rows.map(([at, what, text]) => el("div", "history-row", el("span", "dim", at), el("span", "state", what), el("span", "", text))),
  );
}

function showFacts(facts: HTMLElement, order: Order): void {
  const fact = (name: string, value: string, className = ""): HTMLElement => el("div", "", el("dt", "", name), el("dd", className, value));
  facts.replaceChildren(
    fact("State", stateWord(order.state), stateClass(order.state)),
    fact("Account", order.account_id),
    fact("Id", shortId(order.order_id)),
    fact("Day", `${day(order.sent_ns)} ET`),
    fact("Filled", `${whole(order.cum_qty)} of ${whole(order.qty)}`),
    fact("Average", order.cum_qty ? money(averageE4(order)) : "–"),
  );
}
