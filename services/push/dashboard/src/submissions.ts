// Orders that were sent from this screen, until it is known what became of each, also after the page was loaded again.

import { type Draft, orderIdOf, type OrderRequest, sameOrder } from "./order_draft";
import type { Answer, Found } from "./orders_api";
import type { Order } from "./protocol";
import { exactJson, parseExact, withAmounts } from "./wire";

/** "sent": the answer is out; "asking": it never came, and the order is looked for; else how it ended. */
export type Phase = "sent" | "asking" | Answer["kind"];

export interface Submission {
  readonly order: OrderRequest;
  phase: Phase;
  title: string;
  compared: Answer["compared"];
  tookMs: number | undefined;
}

export interface Sender {
  submit(order: OrderRequest): Promise<Answer>;
  order(orderId: string): Promise<Found<Order>>;
}

const STORAGE_KEY = "tidemark.submissions";
/** Settled submissions that are kept for the eye, and open ones that may be out before the ticket takes no more. */
export const SETTLED_MAX = 20;
export const OPEN_MAX = 20;
/** Waits between the looks for an order without an answer; after the last one it stays unanswered until a person acts. */
const LOOKS_MS = [0, 500, 1_000, 2_000, 4_000, 8_000, 15_000];
const OPEN: ReadonlySet<Phase> = new Set<Phase>(["sent", "asking", "unanswered"]);

export class Submissions {
  /** Newest first. */
  readonly all: Submission[] = [];

  constructor(
    private readonly api: Sender,
    private readonly storage: Pick<Storage, "getItem" | "setItem">,
    private readonly changed: (submission: Submission) => void,
    private readonly wait: (ms: number) => Promise<void> = (ms) => new Promise((done) => setTimeout(done, ms)),
  ) {
    for (const order of this.restored()) {
      const submission: Submission = { order, phase: "asking", title: "Sent before the page was loaded", compared: {}, tookMs: undefined };
      this.all.push(submission);
      void this.look(submission);
    }
  }

  get open(): Submission[] {
    return this.all.filter(({ phase }) => OPEN.has(phase));
  }

  /** The order of this account and symbol whose first answer is still out. */
  waiting(account: string, symbol: string): Submission | undefined {
    return this.all.find(({ order, phase }) => phase === "sent" && order.account_id === account && order.symbol === symbol);
  }

  /** The same order without an answer: pressing again sends that one, not a second. */
  unanswered(draft: Draft): Submission | undefined {
    return this.all.find(({ order, phase }) => (phase === "asking" || phase === "unanswered") && sameOrder(order, draft));
  }

  /** Sends a new order. It is on file before it is on its way. */
  send(order: OrderRequest): Promise<void> {
    const submission: Submission = { order, phase: "sent", title: "", compared: {}, tookMs: undefined };
    this.all.unshift(submission);
    return this.submit(submission);
  }

  /** Sends the same order, under the same id, once more. */
  again(submission: Submission): Promise<void> {
    submission.phase = "sent";
    submission.title = "";
    return this.submit(submission);
  }

  /** The person has seen to it: the order without an answer is no longer looked for. */
  forget(submission: Submission): void {
    this.all.splice(this.all.indexOf(submission), 1);
    this.save();
    this.changed(submission);
  }

  /** What the account's order view says settles what no answer did. */
  observe(orders: ReadonlyMap<string, Order>): void {
    for (const submission of this.all) {
      if (submission.phase !== "asking" && submission.phase !== "unanswered") continue;
      const order = orders.get(orderIdOf(submission.order));
      if (order) this.settle(submission, ...fromOrder(order));
    }
  }

  private async submit(submission: Submission): Promise<void> {
    this.save();
    this.changed(submission);
    const answer = await this.api.submit(submission.order);
    if (submission.phase !== "sent") return;
    submission.compared = answer.compared;
    submission.tookMs = answer.tookMs;
    if (answer.kind !== "unanswered") this.settle(submission, answer.kind, answer.title);
    else {
      this.settle(submission, "asking", answer.title);
      await this.look(submission);
    }
  }

  /** Asks for an order without an answer until it is found, or the looks are used up. */
  private async look(submission: Submission): Promise<void> {
    for (const ms of LOOKS_MS) {
      await this.wait(ms);
      if (submission.phase !== "asking") return;
      const found = await this.api.order(orderIdOf(submission.order));
      if (submission.phase !== "asking") return;
      if (found.kind === "found") return this.settle(submission, ...fromOrder(found.value));
    }
    this.settle(submission, "unanswered", "No order is known under this id");
  }

  private settle(submission: Submission, phase: Phase, title: string): void {
    submission.phase = phase;
    submission.title = title;
    const settled = this.all.filter((one) => !OPEN.has(one.phase));
    for (const old of settled.slice(SETTLED_MAX)) this.all.splice(this.all.indexOf(old), 1);
    this.save();
    this.changed(submission);
  }

  private save(): void {
    try {
      this.storage.setItem(STORAGE_KEY, exactJson(this.open.map(({ order }) => order)));
    } catch {
      // A browser that stores nothing still trades; only a reload forgets what was out.
    }
  }

  private restored(): OrderRequest[] {
    try {
      const orders = withAmounts(parseStored(this.storage.getItem(STORAGE_KEY))) as OrderRequest[];
      return orders.filter((order) => typeof order.client_order_id === "string").slice(0, OPEN_MAX);
    } catch {
      return [];
    }
  }
}

function parseStored(text: string | null): unknown {
  return text ? parseExact(text) : [];
}

function fromOrder(order: Order): ["denied" | "accepted", string] {
  if (order.state === "DENIED") return ["denied", order.reason ?? order.text];
  return ["accepted", `found ${order.state.replaceAll("_", " ").toLowerCase()}`];
}
