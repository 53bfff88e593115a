import { el, panel, Text } from "../dom";
import { money, tickE4, whole } from "../format";
import { cautions, describe, type Draft, notionalE4, type OrderRequest } from "../order_draft";
import { clientOrderId, type OrdersApi } from "../orders_api";
import type { View } from "../painter";
import { Presses } from "../presses";
import type { Side, TimeInForce } from "../protocol";
import type { StoredSettings } from "../settings";
import { storageOf } from "../storage";
import type { Store } from "../store";
import { OPEN_MAX, type Submission, Submissions } from "../submissions";
import { exactJson } from "../wire";
import { confirmOrder } from "./confirm";
import { NumberInput } from "./number_input";
import { Segments } from "./segments";
import { Verdicts, why } from "./verdicts";

/** What the button says, and what a press of it sends: nothing, a new order, or one without an answer once more. */
interface Offer {
  text: string;
  send?: Draft | Submission;
  /** An answer is out: the button waits, and keeps the focus. */
  busy?: boolean;
}

const ECHO_NOTE_MS = 2_500;

/** Without GTD: the ticket has no field for a time. */
type TicketTime = Exclude<TimeInForce, "GTD">;

type Announce = (text: string, tone: "good" | "bad") => void;

/** Where orders are entered, and where the gate's committed verdict on them is read. */
export class Ticket implements View {
  readonly parts = ["choice", "quotes", "account", "link", "orders"] as const;
  readonly root: HTMLElement;
  private side: Side = "B";
  private type: "LIMIT" | "MARKET" = "LIMIT";
  private tif: TicketTime = "DAY";
  /** The choice that is on the screen: a press between two frames sends what the eye still sees. */
  private shown = { symbol: "", account: "" };
  private pricedFor = "";
  private asking = false; // a dialog is open about an order
  private offer: Offer = { text: "" };
  private echoTimer = 0;
  private readonly presses = new Presses();
  private readonly qty: NumberInput;
  private readonly limit: NumberInput;
  private readonly estimate = new Text("estimate");
  private readonly submit = el("button", "submit");
  private readonly sides: Segments<Side>;
  private readonly types: Segments<"LIMIT" | "MARKET">;
  private readonly tifs: Segments<TicketTime>;
  private readonly symbol = new Text("head-note");
  private readonly submissions: Submissions;
  private readonly verdicts: Verdicts;

  constructor(
    private readonly store: Store,
    private readonly api: OrdersApi,
    private readonly settings: StoredSettings,
    private readonly announce: Announce,
    private readonly orderPrefix: string,
  ) {
    const { root, body } = panel("Order", "ticket", this.symbol.node);
    this.root = root;
    this.submissions = new Submissions(api, storageOf("sessionStorage"), (submission) => this.settled(submission));
    this.verdicts = new Verdicts(this.submissions);
    this.sides = new Segments("Side", [["B", "Buy"], ["S", "Sell"]], "wide side", (side) => this.setSide(side));
    this.types = new Segments("Type", [["LIMIT", "Limit"], ["MARKET", "Market"]], "wide", (type) => this.setType(type));
    this.tifs = new Segments("Time in force", [["DAY", "Day"], ["GTC", "GTC"], ["IOC", "IOC"], ["FOK", "FOK"]], "wide", (tif) => this.setTif(tif));
    this.qty = new NumberInput({ label: "Quantity", name: "quantity", decimals: 0, step: () => [100n, 1n] }, () => this.label());
    const step = (value: bigint): [bigint, bigint] => [tickE4(value), tickE4(value)];
    this.limit = new NumberInput({ label: "Limit price", caption: "Price", name: "price", decimals: 4, decimalsShown: 2, step }, (byHand) => {
      if (byHand) this.pricedFor = this.shown.symbol;
      this.label();
    });
    this.qty.set(100n);
    body.append(this.form(), this.verdicts.root);
    this.setSide("B");
    this.setType("LIMIT");
    this.setTif("DAY");
    this.verdicts.paint();
  }

  setSide(side: Side): void {
    this.side = side;
    this.sides.set(side);
    this.root.dataset["side"] = side;
    this.label();
  }

  setPrice(priceE4: number): void {
    this.setType("LIMIT");
    this.pricedFor = this.shown.symbol;
    this.limit.set(BigInt(priceE4));
  }

  paint(): void {
    const { symbol, account } = this.store.choice;
    const moved = symbol !== this.shown.symbol;
    this.shown = { symbol, account };
    this.symbol.set(symbol);
    if (moved) {
      this.pricedFor = "";
      this.limit.set(undefined);
    }
    this.suggestPrice();
    this.submissions.observe(this.store.orders);
    this.label();
  }

  /** The touch, once for each symbol, unless a price was typed before a quote came. */
  private suggestPrice(): void {
    const { symbol } = this.shown;
    if (symbol === this.pricedFor) return;
    const quote = this.store.quotes.get(symbol);
    const near = this.side === "B" ? quote?.ask_e4 : quote?.bid_e4;
    if (!near) return;
    this.pricedFor = symbol;
    this.limit.set(BigInt(near));
  }

  private setType(type: "LIMIT" | "MARKET"): void {
    this.type = type;
    this.types.set(type);
    this.limit.disabled = type === "MARKET";
    this.label();
  }

  private setTif(tif: TicketTime): void {
    this.tif = tif;
    this.tifs.set(tif);
    this.label();
  }

  private form(): HTMLElement {
    const form = el("form", "ticket-form");
    this.submit.type = "submit";
    form.append(
      this.sides.root,
      el("div", "pair", this.types.root, this.tifs.root),
      el("div", "pair", this.qty.root, this.limit.root),
      el("div", "ticket-notes", this.qty.refusal.node, this.limit.refusal.node, this.estimate.node),
      this.submit,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.press();
    });
    // Enter sends once for each time the key goes down; the browser's own submission follows its repeats too.
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || (event.target instanceof HTMLButtonElement && event.target !== this.submit)) return;
      event.preventDefault();
      if (this.presses.keyDown(event.repeat, performance.now())) void this.press();
    });
    window.addEventListener("keyup", (event) => {
      if (event.key === "Enter") this.presses.keyUp();
    });
    window.addEventListener("blur", () => this.presses.keyUp());
    return form;
  }

  /** The order that the fields stand for, where they stand for one. */
  private draft(): Draft | undefined {
    const { symbol, account } = this.shown;
    const [qty, limit] = [this.qty.value, this.limit.value];
    if (qty === undefined || (this.type === "LIMIT" && limit === undefined)) return undefined;
    const draft = { account_id: account, symbol, side: this.side, order_type: this.type, time_in_force: this.tif, qty };
    return limit === undefined ? draft : { ...draft, limit_price_e4: limit };
  }

  private offered(draft: Draft | undefined): Offer {
    const { symbol, account } = this.shown;
    if (!this.api.available) return { text: "No orders API configured" };
    if (!account) return { text: "Choose an account" };
    if (this.store.accountState === "unknown") return { text: `No such account: ${account}` };
    if (this.store.accountState === "checking") return { text: "Checking the account …" };
    if (!symbol) return { text: "Choose a symbol" };
    if (this.submissions.waiting(account, symbol)) return { text: "Waiting for the verdict …", busy: true };
    if (!draft) return { text: this.qty.refused ? "Check the quantity" : "Check the price" };
    const same = this.submissions.unanswered(draft);
    if (same) return { text: "No verdict · send the same order again", send: same };
    if (this.submissions.open.length >= OPEN_MAX) return { text: "Too many orders without a verdict" };
    return { text: describe(draft), send: draft };
  }

  private label(): void {
    const draft = this.draft();
    const { submit } = this;
    this.offer = this.offered(draft);
    if (submit.textContent !== this.offer.text) submit.textContent = this.offer.text;
    submit.disabled = !this.offer.send && !this.offer.busy;
    submit.setAttribute("aria-disabled", String(!this.offer.send));
    this.paintEstimate(draft);
  }

  private paintEstimate(draft: Draft | undefined): void {
    const { symbol } = this.shown;
    if (this.echoTimer) return void this.estimate.set("Pressed again at once: sent only once", "estimate warn");
    const holding = this.store.account?.positions.find((one) => one.symbol === symbol)?.qty ?? 0n;
    const notional = draft ? notionalE4(draft, this.store.quotes.get(symbol)) : 0n;
    const worth = notional > 0n ? money(notional) : "–";
    const refused = this.qty.refused || this.limit.refused;
    this.estimate.set(refused ? "" : `${this.type === "MARKET" ? "≈ " : ""}${worth}   ·   holding ${whole(holding)}`, "estimate");
  }

  /** Sends what the button says, after asking where the order is out of the ordinary. */
  private async press(): Promise<void> {
    const { send } = this.offer;
    if (!send || this.asking) return;
    const draft = "order" in send ? send.order : send;
    const { client_order_id: _, ...what } = { client_order_id: "", ...draft };
    if (!this.presses.decides(exactJson(what), performance.now())) return this.echo();
    if ("order" in send) return this.submissions.again(send);
    const order: OrderRequest = { ...send, client_order_id: clientOrderId(this.orderPrefix) };
    if (!(await this.meant(order))) return this.label();
    await this.submissions.send(order);
  }

  private async meant(order: OrderRequest): Promise<boolean> {
    const current = this.store.link === "live" || this.store.link === "delayed";
    const found = cautions(order, this.store.quotes.get(order.symbol), current, this.settings.now.ask);
    if (!found.length) return true;
    this.asking = true;
    try {
      return await confirmOrder(order, found);
    } finally {
      this.asking = false;
    }
  }

  private echo(): void {
    clearTimeout(this.echoTimer);
    this.echoTimer = window.setTimeout(() => {
      this.echoTimer = 0;
      this.label();
    }, ECHO_NOTE_MS);
    this.label();
  }

  private settled(submission: Submission): void {
    this.verdicts.paint();
    this.label();
    const { order, phase } = submission;
    const what = [describe(order), `account ${order.account_id}`, why(submission)].filter(Boolean).join(", ");
    if (phase === "accepted") this.announce(`Accepted: ${what}`, "good");
    else if (phase === "denied") this.announce(`Denied: ${what}`, "bad");
    else if (phase !== "sent") this.announce(`${phase === "refused" ? "Failed" : "No verdict"}: ${what}`, "bad");
  }
}
