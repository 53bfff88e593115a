import { expect, it } from "vitest";

import { freshness } from "./freshness";
import type { RedisState, Status, WriterState } from "./protocol";

const NOW_MS = 1_800_000_000_000;
const ALL = new Set(["quote", "account", "order"]);

function status(ageMs: number, said: { state?: WriterState; redis?: RedisState; up?: boolean; of?: string } = {}): Status {
  const writer = (name: string, views: string[]) => {
    const its = said.of === undefined || said.of === name;
    return {
      state: its ? (said.state ?? "live") : "live",
      as_of_ns: (NOW_MS - (its ? ageMs : 0)) * 1e6,
      epoch: 1,
      partitions: 4,
      heard: 4,
      redis: "ok" as const,
      views,
    };
  };
  return {
    op: "health",
    now_ns: NOW_MS * 1e6,
    redis: { up: said.up ?? true, state: said.redis ?? "ok", since_ns: 0, behind: 0 },
    views: { "signals.market": writer("signals.market", ["quote", "book"]), "orders.lifecycle": writer("orders.lifecycle", ["order", "fill"]) },
    clients: 1,
    latency: {} as Status["latency"],
  };
}

it("is live while what is shown is young", () => {
  expect(freshness(status(1500), ALL, NOW_MS)).toMatchObject({ state: "live", text: "LIVE" });
});

it("tells the age of the oldest part, although Redis answers", () => {
  expect(freshness(status(7000, { of: "orders.lifecycle" }), ALL, NOW_MS)).toMatchObject({
    state: "delayed",
    text: "DELAYED 7 s",
    why: "Behind: orders",
    asOfMs: NOW_MS - 7000,
  });
  expect(freshness(status(40_000), ALL, NOW_MS)).toMatchObject({ state: "stale", text: "STALE 40 s", why: "Behind: market, orders" });
});

it("goes on growing old where nothing new is said", () => {
  expect(freshness(status(0), ALL, NOW_MS + 60_000)).toMatchObject({ state: "stale", text: "STALE 60 s" });
});

it("is not live while rows are shown that came before a gap or over a lost connection", () => {
  expect(freshness(status(0), ALL, NOW_MS, true)).toMatchObject({ state: "stale", text: "INCOMPLETE", why: "Newer rows are on their way" });
  expect(freshness(status(40_000), ALL, NOW_MS, true).text).toBe("STALE 40 s");
});

it("asks only about what is looked at", () => {
  expect(freshness(status(40_000, { of: "orders.lifecycle" }), new Set(["quote"]), NOW_MS).state).toBe("live");
});

it.each(["filling", "partial", "lost"] as const)("is not live while rows are missing: %s", (state) => {
  expect(freshness(status(0, { state, of: "orders.lifecycle" }), ALL, NOW_MS)).toMatchObject({
    state: "stale",
    text: "INCOMPLETE · ORDERS",
  });
});

it("says what nobody has spoken of", () => {
  const unknown = { state: "unknown", of: "signals.market" } as const;
  expect(freshness(status(NOW_MS, unknown), ALL, NOW_MS).text).toBe("NO MARKET");
  const clockless = { of: "signals.market" }; // the writer lives, and no feed has ever ticked
  expect(freshness(status(NOW_MS, clockless), ALL, NOW_MS).text).toBe("NO MARKET");
  expect(freshness(status(9000, { state: "silent" }), ALL, NOW_MS)).toMatchObject({ state: "stale", text: "STALE 9 s" });
});

it.each(["full", "read-only", "evicting"] as const)("is not live while Redis is %s", (redis) => {
  expect(freshness(status(0, { redis }), ALL, NOW_MS)).toMatchObject({ state: "stale", why: `Redis is ${redis}` });
});

it("says that Redis is away", () => {
  expect(freshness(status(0, { redis: "unreachable", up: false }), ALL, NOW_MS)).toMatchObject({
    text: "STALE · REDIS",
    why: "Redis is away",
  });
});
