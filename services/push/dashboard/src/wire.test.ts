import { expect, it } from "vitest";

import { decode, exactJson, parseExact } from "./wire";

const MAX = 9_223_372_036_854_775_807n;
const snapshot = (topic: string, row: string): string => `{"op":"snapshot","topic":"${topic}","epoch":1,"seq":1,"rows":{"k":${row}}}`;

function rowOf(text: string): Record<string, unknown> {
  const message = decode(text);
  if (message.op !== "snapshot") throw new Error("no snapshot");
  return message.rows["k"] as Record<string, unknown>;
}

it("keeps every digit of an amount, at and beyond 2^53", () => {
  for (const value of [0n, 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, MAX, -MAX]) {
    const row = rowOf(snapshot("account:A", `{"cash_e4":${value},"positions":[{"symbol":"X","qty":${value}}],"seq":7}`));
    expect(row).toEqual({ cash_e4: value, positions: [{ symbol: "X", qty: value }], seq: 7 });
  }
});

it("reads orders and fills of a frame exactly, the market as numbers, and a removed key as null", () => {
  const text = `{"op":"frame","sent_ns":1800000000000000001,"deltas":[
    {"topic":"quote","seq":2,"prev":1,"rows":{"X":{"bid_e4":470000,"event_ns":1800000000000000001}}},
    {"topic":"order:A","seq":2,"prev":1,"rows":{"A.1":{"qty":9007199254740993,"limit_price_e4":null,"sent_ns":1800000000000000001},"A.0":null}}]}`;
  const message = decode(text);
  if (message.op !== "frame") throw new Error("no frame");
  expect(message.deltas[0]?.rows["X"]).toEqual({ bid_e4: 470000, event_ns: Number("1800000000000000001") });
  expect(message.deltas[1]?.rows).toMatchObject({ "A.1": { qty: 9007199254740993n, limit_price_e4: null }, "A.0": null });
  expect((message.deltas[1]?.rows["A.1"] as Record<string, unknown>)["sent_ns"]).toBe(Number("1800000000000000001"));
});

it("writes and reads answers of the API without losing digits, and refuses what is not JSON", () => {
  expect(exactJson({ qty: MAX, side: "B" })).toBe(`{"qty":${MAX},"side":"B"}`);
  expect(parseExact(`{"compared":{"cash_e4":${MAX},"qty":5}}`)).toEqual({ compared: { cash_e4: MAX, qty: 5 } });
  expect(() => decode("{")).toThrow();
});
