import { button, el } from "../dom";
import { day, money, price, timeOfDayMs, whole } from "../format";
import { describe } from "../order_draft";
import type { OrdersApi } from "../orders_api";
import type { Fill, Order } from "../protocol";
import { openDialog } from "./dialog";
import { averageE4, shortId, stateClass, stateWord } from "./order_words";

/** Pages of the account's execution reports that are looked through for those of one order. */
const PAGES_MAX = 10;

type Row = [at: string, what: string, detail: string];

/** An order and what the venue said of it, in a dialog that follows the order's row no further. */
export async function openHistory(api: OrdersApi, known: Order): Promise<void> {
  const list = el("div", "history-rows");
  list.tabIndex = 0;
  list.setAttribute("role", "region");
  list.setAttribute("aria-label", "Events");
  const note = el("p", "note", "Reading the order's events …");
  const facts = el("dl", "facts");
  const dialog = openDialog(title(known), "history-dialog", [facts, list, note, el("div", "dialog-buttons", button("plain", "Close", () => dialog.close()))]);
  showFacts(facts, known);
  showRows(list, rowsOf(known, []));
  if (!api.available) return void (note.textContent = "No orders API configured: only what the screen knows is shown");
  const [found, read] = await Promise.all([api.order(known.order_id), reports(api, known)]);
  const order = found.kind === "found" && found.value.revision >= known.revision ? found.value : known;
  showFacts(facts, order);
  showRows(list, rowsOf(order, read.reports));
  note.textContent = read.complete ? "" : "Not every event could be read";
}

function title({ limit_price_e4, ...order }: Order): string {
  return describe(limit_price_e4 === undefined || limit_price_e4 === null ? order : { ...order, limit_price_e4 });
}

/** The order's execution reports, oldest first. */
async function reports(api: OrdersApi, order: Order): Promise<{ reports: Fill[]; complete: boolean }> {
  const found: Fill[] = [];
  let before: number | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const answer = await api.executions(order.account_id, before);
    if (answer.kind !== "found") return { reports: found.reverse(), complete: false };
    found.push(...answer.value.items.filter((report) => report.order_id === order.order_id));
    const oldest = answer.value.items.at(-1);
    const next = answer.value.next;
    // Reports of an order come after it was sent: a page that ends before that moment was the last one of interest.
    if (next === undefined || next === null || !oldest || oldest.venue_ns < order.sent_ns - 60e9) return { reports: found.reverse(), complete: true };
    before = next;
  }
  return { reports: found.reverse(), complete: false };
}

function rowsOf(order: Order, found: Fill[]): Row[] {
  const rows: Row[] = [[timeOfDayMs(order.sent_ns), "Sent", `${order.order_type} · ${order.time_in_force} · ${whole(order.qty)}`]];
  for (const report of found) rows.push([timeOfDayMs(report.venue_ns), stateWord(report.exec_type), detail(report)]);
  rows.push([timeOfDayMs(order.updated_ns), stateWord(order.state), [order.reason?.replaceAll("_", " "), order.text].filter(Boolean).join(" · ") || `revision ${order.revision}`]);
  return rows;
}

function detail(report: Fill): string {
  const traded = report.last_qty ? `${whole(report.last_qty)} @ ${price(report.last_price_e4)}` : "";
  return [traded, `filled ${whole(report.cum_qty)}`, `open ${whole(report.leaves_qty)}`, report.text].filter(Boolean).join(" · ");
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
