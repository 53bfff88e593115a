import { describe, expect, it } from "vitest";

import { type Part, Store } from "./store";

const quote = (symbol: string, last_e4: number) => ({ symbol, last_e4, event_ns: last_e4 });

describe("store", () => {
  it("replaces a topic's rows with its snapshot", () => {
    const store = new Store(() => undefined);
    store.snapshot("quote", { A: quote("A", 1), B: quote("B", 2) });
    store.snapshot("quote", { B: quote("B", 3) });
    expect([...store.quotes.keys()]).toEqual(["B"]);
    expect(store.feedNs).toBe(3);
  });

  it("applies changes and removals, and names the part to paint", () => {
    const touched: Part[] = [];
    const store = new Store((part) => touched.push(part));
    store.snapshot("order:A1", { "A1.1": { order_id: "A1.1" } });
    store.delta({ topic: "order:A1", seq: 2, prev: 1, rows: { "A1.2": { order_id: "A1.2" }, "A1.1": null } });
    expect([...store.orders.keys()]).toEqual(["A1.2"]);
    expect(touched).toEqual(["orders", "orders"]);
  });

  it("forgets what belonged to the symbol or account that is no longer chosen", () => {
    const store = new Store(() => undefined);
    store.choose({ symbol: "A", account: "A1" });
    store.snapshot("bar:A:1000000000", { "1": { window_start_ns: 1 } });
    store.snapshot("fill:A1", { x: { execution_id: "x" } });
    store.snapshot("book:A", { depth: { symbol: "A" } });
    store.choose({ symbol: "B" });
    expect(store.bars.size).toBe(0);
    expect(store.book).toBeUndefined();
    expect(store.fills.size).toBe(1);
    store.choose({ account: "A2" });
    expect(store.fills.size).toBe(0);
  });
});
