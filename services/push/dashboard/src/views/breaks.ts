import { button, el, Text } from "../dom";
import { price, timeOfDay, whole } from "../format";
import type { View } from "../painter";
import type { Break } from "../protocol";
import type { Store } from "../store";
import { openDialog } from "./dialog";
import { nothing, sideWord, stateWord } from "./order_words";

/** The account's execution reports that the books refuse: how many, in the strip, and behind that what to do about each. */
export class Breaks implements View {
  readonly parts = ["breaks", "choice", "account", "status", "link"] as const;
  readonly lamp: HTMLButtonElement;
  private readonly count = new Text("lamp-name");
  private readonly list = el("div", "break-rows");
  private shown = "";

  constructor(
    private readonly store: Store,
    private readonly nowMs: () => number,
  ) {
    this.lamp = button("lamp breaks", "", () => this.open());
    this.lamp.append(el("i"), this.count.node);
    this.lamp.title = "Execution reports of this account that the books refuse, until somebody resolves them";
    this.list.tabIndex = 0;
    this.list.setAttribute("role", "region");
    this.list.setAttribute("aria-label", "Open breaks");
  }

  paint(): void {
    const open = [...this.store.breaks.values()].sort((a, b) => a.opened_ns - b.opened_ns);
    const known = this.store.knows("break", this.nowMs());
    this.lamp.dataset["state"] = open.length ? "down" : known ? "ready" : "unknown";
    this.count.set(open.length || known ? `breaks ${open.length}` : "breaks ?");
    const none = nothing(this.store, "break", "No open breaks", this.nowMs());
    const shown = open.map(({ break_id }) => break_id).join(" ") || none;
    if (shown === this.shown) return;
    this.shown = shown;
    this.list.replaceChildren(...(open.length ? open.map(row) : [el("p", "note", none)]));
  }

  private open(): void {
    const close = button("plain", "Close", () => dialog.close());
    const how = el("p", "note", "Ask the venue first. ", el("code", "", "--break"), " instead of ", el("code", "", "--book"), " refuses the report for good.");
    const title = `Open breaks of ${this.store.choice.account || "no account"}`;
    const dialog = openDialog(title, "breaks-dialog", [this.list, how, el("div", "dialog-buttons", close)]);
  }
}

function row(one: Break): HTMLElement {
  const numbers = Object.entries(one.compared).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  return el(
    "div",
    "break-row",
    el("div", "break-head", el("b", "state down", one.reason.replaceAll("_", " ")), el("span", "break-order", one.order_id), el("span", "dim", timeOfDay(one.opened_ns))),
    el("div", "", said(one)),
    el("div", "dim", [moves(one), one.parked ? "the order has moved, its money waits" : "", ...numbers].filter(Boolean).join(" · ")),
    el("code", "break-command", `tidemark breaks resolve ${one.break_id} --book --note "…"`),
  );
}

/** What the venue said. */
function said({ report }: Break): string {
  const traded = report.last_qty ? `: ${sideWord(report.side)} ${whole(report.last_qty)} ${report.symbol} @ ${price(report.last_price_e4)}` : "";
  return `${stateWord(report.exec_type)} ${report.execution_id}${traded}`;
}

/** What is moved when it is booked. */
function moves({ effect }: Break): string {
  const parts = [
    effect.back_qty ? `take back ${whole(effect.back_qty)} @ ${price(effect.back_price_e4)}` : "",
    effect.fill_qty ? `fill ${whole(effect.fill_qty)} @ ${price(effect.fill_price_e4)}` : "",
    effect.ends ? "end the order" : "",
  ];
  return `Booking: ${parts.filter(Boolean).join(", ") || "nothing"}`;
}
