import { describe, expect, it } from "vitest";

import type { Status, WriterState } from "./protocol";
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

  it("knows what is not there only after a snapshot, and while the writer is live and heard", () => {
    const store = new Store(() => undefined);
    const views = (state: WriterState, asOfMs: number) => {
      const writer = { state, as_of_ns: asOfMs * 1e6, epoch: 1, partitions: 1, heard: 1, redis: "ok" as const, views: ["order"] };
      return { redis: { up: true, since_ns: 0, behind: 0 }, views: { "orders.lifecycle": writer } } as unknown as Status;
    };
    store.choose({ account: "A1" });
    store.link = "live";
    store.status = views("live", 1000);
    expect(store.knows("order", 1000)).toBe(false);
    store.snapshot("order:A1", {});
    expect(store.knows("order", 1000)).toBe(true);
    expect(store.knows("order", 20_000)).toBe(false);
    expect(store.knows("fill", 1000)).toBe(false);
    store.status = views("filling", 1000);
    expect(store.knows("order", 1000)).toBe(false);
    store.status = views("live", 1000);
    store.link = "offline";
    expect(store.knows("order", 1000)).toBe(false);
    store.link = "live";
    store.choose({ account: "A2" });
    expect(store.knows("order", 1000)).toBe(false);
  });
});
