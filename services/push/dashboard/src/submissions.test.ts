import { expect, it } from "vitest";

import type { OrderRequest } from "./order_draft";
import type { Answer, Found } from "./orders_api";
import type { Order } from "./protocol";
import { OPEN_MAX, SETTLED_MAX, Submissions } from "./submissions";

const order = (id: string, change: Partial<OrderRequest> = {}): OrderRequest => ({
  account_id: "A1", client_order_id: id, symbol: "AAPL", side: "B", order_type: "LIMIT", time_in_force: "DAY",
  qty: 2n ** 53n + 1n, limit_price_e4: 1_000_000n, ...change,
});
const answer = (kind: Answer["kind"], title = ""): Answer => ({ kind, title, compared: {}, tookMs: 1 });
const row = (state: string, reason: string | null = null): Order => ({ state, reason, text: "" }) as unknown as Order;

class Storage {
  text: string | null = null;
  getItem = () => this.text;
  setItem = (_: string, text: string) => void (this.text = text);
}

/** An API whose answers the test gives when it likes. */
class Api {
  sent: { order: OrderRequest; answer: (given: Answer) => void }[] = [];
  looked: string[] = [];
  found: Found<Order> = { kind: "unknown" };
  submit = (one: OrderRequest): Promise<Answer> => new Promise((done) => this.sent.push({ order: one, answer: done }));
  order = (id: string): Promise<Found<Order>> => {
    this.looked.push(id);
    return Promise.resolve(this.found);
  };
}

function made(storage = new Storage(), api = new Api(), wait?: () => Promise<void>) {
  const submissions = new Submissions(api, storage, () => undefined, wait ?? (() => new Promise((done) => setTimeout(done, 0))));
  return { submissions, storage, api };
}
const settled = () => new Promise((done) => setTimeout(done, 30));

it("an answer belongs to the order that it is about, whichever comes first", async () => {
  const { submissions, api } = made();
  void submissions.send(order("1"));
  void submissions.send(order("2", { symbol: "MSFT" }));
  expect(submissions.waiting("A1", "AAPL")?.order.client_order_id).toBe("1");
  expect(submissions.waiting("A1", "MSFT")?.order.client_order_id).toBe("2");
  expect(submissions.waiting("A2", "AAPL")).toBeUndefined();
  api.sent[1]?.answer(answer("denied", "CASH_INSUFFICIENT"));
  api.sent[0]?.answer(answer("accepted"));
  await settled();
  expect(submissions.all.map(({ order: { symbol }, phase }) => [symbol, phase])).toEqual([["MSFT", "denied"], ["AAPL", "accepted"]]);
  expect(submissions.open).toEqual([]);
});

it("is on file, with every digit, before it is on its way, and off it once answered", async () => {
  const { submissions, storage, api } = made();
  api.submit = (one) => {
    expect(storage.text).toContain(`"qty":${2n ** 53n + 1n}`);
    return Promise.resolve(answer("accepted", one.client_order_id));
  };
  await submissions.send(order("1"));
  expect(storage.text).toBe("[]");
});

it("after a reload what was out is looked for by its id, and is not sent again", async () => {
  const storage = new Storage();
  void made(storage).submissions.send(order("1"));
  const api = new Api();
  api.found = { kind: "found", value: row("PARTIALLY_FILLED") };
  const { submissions } = made(storage, api);
  expect(submissions.all[0]).toMatchObject({ phase: "asking", order: order("1") });
  await settled();
  expect(api.looked).toEqual(["A1.1"]);
  expect(api.sent).toEqual([]);
  expect(submissions.all[0]).toMatchObject({ phase: "accepted", title: "found partially filled" });
  expect(storage.text).toBe("[]");
});

it("the order that got no answer is found denied, or stays unanswered; pressing again sends the same id", async () => {
  const { submissions, api } = made();
  void submissions.send(order("1"));
  api.sent[0]?.answer(answer("unanswered", "No answer in time"));
  await settled();
  await settled();
  expect(api.looked.length).toBeGreaterThan(3);
  const same = submissions.unanswered(order("another id"));
  expect(same?.phase).toBe("unanswered");
  expect(submissions.unanswered(order("another id", { qty: 1n }))).toBeUndefined();
  void submissions.again(same!);
  expect(api.sent[1]?.order).toEqual(order("1"));
  api.found = { kind: "found", value: row("DENIED", "MARK_STALE") };
  api.sent[1]?.answer(answer("unanswered"));
  await settled();
  expect(submissions.all).toHaveLength(1);
  expect(submissions.all[0]).toMatchObject({ phase: "denied", title: "MARK_STALE" });
});

it("what the order view shows settles it without a look", async () => {
  const { submissions, api, storage } = made(new Storage(), new Api(), () => new Promise(() => undefined));
  void submissions.send(order("1"));
  submissions.observe(new Map([["A1.1", row("WORKING")]]));
  expect(submissions.all[0]?.phase).toBe("sent");
  api.sent[0]?.answer(answer("unanswered"));
  await settled();
  submissions.observe(new Map([["A1.1", row("WORKING")]]));
  expect(submissions.all[0]?.phase).toBe("accepted");
  expect(storage.text).toBe("[]");
});

it("keeps the newest of what is settled, and everything that is open; what is forgotten is gone", async () => {
  const { submissions, api, storage } = made();
  void submissions.send(order("open"));
  api.submit = () => Promise.resolve(answer("accepted"));
  for (let n = 0; n < 3 * SETTLED_MAX; n++) await submissions.send(order(String(n)));
  expect(submissions.all).toHaveLength(SETTLED_MAX + 1);
  expect(submissions.open.map((one) => one.order.client_order_id)).toEqual(["open"]);
  submissions.forget(submissions.open[0]!);
  expect(submissions.open).toEqual([]);
  expect(storage.text).toBe("[]");
});

it("what is stored and makes no sense is passed over, and never more than the bound", async () => {
  for (const text of ["{", "null", "7", '[{"a":1}]']) {
    const storage = new Storage();
    storage.text = text;
    expect(made(storage).submissions.all).toEqual([]);
  }
  const storage = new Storage();
  const { submissions } = made(storage);
  for (let n = 0; n < 2 * OPEN_MAX; n++) void submissions.send(order(String(n)));
  expect(made(storage).submissions.all).toHaveLength(OPEN_MAX);
});
