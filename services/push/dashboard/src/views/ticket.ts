import { el, panel, Text } from "../dom";
import { compared, money, price, tickE4, whole } from "../format";
import { type Answer, clientOrderId, type OrderRequest, type OrdersApi } from "../orders_api";
import type { View } from "../painter";
import type { Side } from "../protocol";
import type { Store } from "../store";

const VERDICTS_MAX = 4;

/** Where orders are entered, and where the gate's committed verdict on them is read. */
export class Ticket implements View {
  readonly parts = ["choice", "quotes", "account", "link"] as const;
  readonly root: HTMLElement;
  private side: Side = "B";
  private type: "LIMIT" | "MARKET" = "LIMIT";
  private tif: "DAY" | "IOC" = "DAY";
  private pricedFor = "";
  private unanswered: OrderRequest | undefined;
  private busy = false;
  private readonly qty = input("100", "Quantity");
  private readonly limit = input("", "Limit price");
  private readonly estimate = new Text("estimate");
  private readonly submit = el("button", "submit");
  private readonly verdicts = el("ol", "verdicts");
  private readonly sides: Segments<Side>;
  private readonly types: Segments<"LIMIT" | "MARKET">;
  private readonly tifs: Segments<"DAY" | "IOC">;
  private readonly symbol = new Text("head-note");

  constructor(
    private readonly store: Store,
    private readonly api: OrdersApi,
  ) {
    const { root, body } = panel("Order", "ticket", this.symbol.node);
    this.root = root;
    this.sides = new Segments([["B", "Buy"], ["S", "Sell"]], "side", (side) => this.setSide(side));
    this.types = new Segments([["LIMIT", "Limit"], ["MARKET", "Market"]], "", (type) => this.setType(type));
    this.tifs = new Segments([["DAY", "Day"], ["IOC", "IOC"]], "", (tif) => this.setTif(tif));
    const form = el("form", "ticket-form");
    form.append(
      this.sides.root,
      el("div", "pair", this.types.root, this.tifs.root),
      el("div", "pair", field("Quantity", this.qty), field("Price", this.limit)),
      this.estimate.node,
      this.submit,
    );
    this.submit.type = "submit";
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
    for (const one of [this.qty, this.limit]) one.addEventListener("input", () => this.edited());
    step(this.qty, () => 100, 1);
    step(this.limit, () => tickE4(this.priceE4()) / 10_000, tickE4(10_000) / 10_000);
    body.append(form, this.verdicts);
    this.setSide("B");
    this.setType("LIMIT");
    this.setTif("DAY");
  }

  setSide(side: Side): void {
    this.side = side;
    this.sides.set(side);
    this.root.dataset["side"] = side;
    this.edited();
  }

  setPrice(priceE4: number): void {
    this.setType("LIMIT");
    this.limit.value = price(priceE4);
    this.edited();
  }

  paint(): void {
    const { symbol } = this.store.choice;
    this.symbol.set(symbol);
    if (symbol !== this.pricedFor) {
      const quote = this.store.quotes.get(symbol);
      const near = this.side === "B" ? quote?.ask_e4 : quote?.bid_e4;
      this.limit.value = near ? price(near) : "";
      if (near || !symbol) this.pricedFor = symbol;
    }
    this.label();
  }

  private setType(type: "LIMIT" | "MARKET"): void {
    this.type = type;
    this.types.set(type);
    this.limit.disabled = type === "MARKET";
    this.edited();
  }

  private setTif(tif: "DAY" | "IOC"): void {
    this.tif = tif;
    this.tifs.set(tif);
    this.edited();
  }

  private edited(): void {
    this.unanswered = undefined;
    this.label();
  }

  private priceE4(): number {
    if (this.type === "LIMIT") return Math.round(Number(this.limit.value.replaceAll(",", "")) * 10_000) || 0;
    const quote = this.store.quotes.get(this.store.choice.symbol);
    return (this.side === "B" ? quote?.ask_e4 : quote?.bid_e4) ?? 0;
  }

  private quantity(): number {
    return Number(this.qty.value.replaceAll(",", "")) || 0;
  }

  private label(): void {
    const { symbol, account } = this.store.choice;
    const notional = this.priceE4() * this.quantity();
    const holding = this.store.account?.positions.find((one) => one.symbol === symbol)?.qty ?? 0;
    this.estimate.set(`${this.type === "MARKET" ? "≈ " : ""}${notional > 0 ? money(notional) : "–"}   ·   holding ${whole(holding)}`);
    const verb = this.side === "B" ? "Buy" : "Sell";
    const ready = this.api.available && symbol !== "" && account !== "";
    this.submit.disabled = this.busy || !ready;
    if (!this.api.available) this.submit.textContent = "No orders API configured";
    else if (!account) this.submit.textContent = "Choose an account";
    else if (this.busy) this.submit.textContent = "Waiting for the verdict …";
    else if (this.unanswered) this.submit.textContent = "No verdict · send the same order again";
    else {
      const at = this.type === "MARKET" ? "at market" : `@ ${this.limit.value || "–"}`;
      this.submit.textContent = `${verb} ${this.qty.value || "–"} ${symbol} ${at}`;
    }
  }

  private request(): OrderRequest {
    const { symbol, account } = this.store.choice;
    const limit = this.type === "LIMIT" ? { limit_price_e4: this.priceE4() } : {};
    return {
      account_id: account,
      client_order_id: clientOrderId(),
      symbol,
      side: this.side,
      order_type: this.type,
      time_in_force: this.tif,
      qty: this.quantity(),
      ...limit,
    };
  }

  private async send(): Promise<void> {
    if (this.submit.disabled) return;
    const order = this.unanswered ?? this.request();
    this.busy = true;
    this.label();
    const answer = await this.api.submit(order);
    this.busy = false;
    this.unanswered = answer.kind === "unanswered" ? order : undefined;
    this.tell(order, answer);
    this.label();
  }

  private tell(order: OrderRequest, answer: Answer): void {
    const at = order.limit_price_e4 === undefined ? "market" : price(order.limit_price_e4);
    const what = `${order.side === "B" ? "Buy" : "Sell"} ${whole(order.qty)} ${order.symbol} @ ${at}`;
    const numbers = Object.entries(answer.compared).map(([name, value]) => compared(name, value));
    const node = el(
      "li",
      `verdict ${answer.kind}`,
      el("span", "verdict-kind", answer.kind === "accepted" ? "Accepted" : answer.kind === "denied" ? "Denied" : "Failed"),
      el("span", "verdict-what", what),
      el("span", "verdict-took", `${answer.tookMs.toFixed(1)} ms`),
    );
    if (answer.title || numbers.length) node.append(el("span", "verdict-why", [answer.title, ...numbers].filter(Boolean).join("  ·  ")));
    this.verdicts.prepend(node);
    while (this.verdicts.children.length > VERDICTS_MAX) this.verdicts.lastElementChild?.remove();
  }
}

class Segments<T extends string> {
  readonly root: HTMLElement;
  private readonly buttons = new Map<T, HTMLButtonElement>();

  constructor(choices: [T, string][], className: string, chosen: (value: T) => void) {
    this.root = el("div", `segments wide ${className}`);
    for (const [value, label] of choices) {
      const button = el("button", "", label);
      button.type = "button";
      button.dataset["value"] = value;
      button.addEventListener("click", () => chosen(value));
      this.buttons.set(value, button);
      this.root.append(button);
    }
  }

  set(value: T): void {
    for (const [one, button] of this.buttons) {
      button.classList.toggle("on", one === value);
      button.setAttribute("aria-pressed", String(one === value));
    }
  }
}

function input(value: string, label: string): HTMLInputElement {
  const node = el("input", "number");
  node.value = value;
  node.inputMode = "decimal";
  node.autocomplete = "off";
  node.setAttribute("aria-label", label);
  return node;
}

function field(label: string, control: HTMLElement): HTMLElement {
  return el("label", "field", el("span", "", label), control);
}

/** Arrow keys step a number: by a tick, or a round lot (with shift: one share, a cent). */
function step(node: HTMLInputElement, by: () => number, fine: number): void {
  node.addEventListener("keydown", (event) => {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    event.stopPropagation();
    const size = event.shiftKey ? fine : by();
    const decimals = size < 0.01 ? 4 : size < 1 ? 2 : 0;
    const value = (Number(node.value.replaceAll(",", "")) || 0) + direction * size;
    node.value = Math.max(0, value).toFixed(decimals);
    node.dispatchEvent(new Event("input"));
  });
}
