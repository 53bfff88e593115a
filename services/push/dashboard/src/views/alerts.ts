import { alertNumbers, comparison, goesOn, gravity, inOrder, kindWords } from "../alert_words";
import { button, el, Text } from "../dom";
import { timeOfDay } from "../format";
import type { View } from "../painter";
import type { Alert } from "../protocol";
import type { Store } from "../store";
import { openDialog } from "./dialog";

const HIGH = 2;

/** Market alerts of all symbols: how many go on, in the strip, and behind that each with its numbers. */
export class Alerts implements View {
  readonly parts = ["alerts", "status", "link"] as const;
  readonly lamp: HTMLButtonElement;
  private readonly count = new Text("lamp-name");
  private readonly list = el("div", "alert-rows");
  private shown = "";
  private dialog: HTMLDialogElement | undefined;

  constructor(
    private readonly store: Store,
    private readonly choose: (symbol: string) => void,
    private readonly goTo: (alert: Alert) => void,
    private readonly nowMs: () => number,
  ) {
    this.lamp = button("lamp alerts", "", () => this.open());
    this.lamp.append(el("i"), this.count.node);
    this.lamp.title = "Market alerts that go on";
    this.list.tabIndex = 0;
    this.list.setAttribute("role", "region");
    this.list.setAttribute("aria-label", "Market alerts");
  }

  paint(): void {
    const alerts = inOrder(this.store.alerts.values());
    const open = alerts.filter(goesOn);
    const known = this.store.knows("alert", this.nowMs());
    const gravest = Math.max(-1, ...open.map(gravity));
    this.lamp.dataset["state"] = gravest > HIGH ? "down" : gravest === HIGH ? "waiting" : known ? "ready" : "unknown";
    this.count.set(open.length || known ? `alerts ${open.length}` : "alerts ?");
    const none = known ? "No alerts" : "Not known yet";
    const shown = alerts.map((one) => `${one.symbol}${one.kind}${one.begin_ns}${one.phase}${one.peak_ppm}`).join(" ") || none;
    if (shown === this.shown) return;
    this.shown = shown;
    this.list.replaceChildren(...(alerts.length ? alerts.map((one) => this.row(one)) : [el("p", "note", none)]));
  }

  private open(): void {
    const close = button("plain", "Close", () => this.dialog?.close());
    this.dialog = openDialog("Market alerts", "alerts-dialog", [this.list, el("div", "dialog-buttons", close)]);
  }

  private row(one: Alert): HTMLElement {
    const symbol = button("plain alert-symbol", one.symbol, () => {
      this.choose(one.symbol);
      this.dialog?.close();
    });
    const moment = button("plain alert-moment", "Show on chart", () => {
      this.goTo(one);
      this.dialog?.close();
    });
    const span = goesOn(one) ? `since ${timeOfDay(one.begin_ns)}` : `${timeOfDay(one.begin_ns)} – ${timeOfDay(one.end_ns)}`;
    const state = gravity(one) > HIGH && goesOn(one) ? "state down" : goesOn(one) ? "state open" : "state dim";
    return el(
      "div",
      "alert-row",
      el("div", "alert-head", symbol, el("b", state, kindWords(one.kind)), el("span", "alert-grade", one.severity), el("span", "dim", span), moment),
      el("div", "dim", [comparison(one), `at ${timeOfDay(one.peak_ns)}`, ...alertNumbers(one)].join(" · ")),
    );
  }
}
