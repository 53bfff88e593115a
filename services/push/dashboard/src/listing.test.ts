import { expect, it } from "vitest";

import { matches, pressedHead, sorted } from "./listing";

it("a head sorts down, then up, then not at all; another head begins anew", () => {
  const down = pressedHead(undefined, "qty");
  const up = pressedHead(down, "qty");
  expect([down, up, pressedHead(up, "qty")]).toEqual([{ column: "qty", down: true }, { column: "qty", down: false }, undefined]);
  expect(pressedHead(up, "price")).toEqual({ column: "price", down: true });
});

it("sorts by exact amounts and leaves equal rows as they were", () => {
  const rows = [{ id: "a", qty: 2n ** 53n }, { id: "b", qty: 2n ** 53n + 1n }, { id: "c", qty: 2n ** 53n }];
  expect(sorted(rows, (row) => row.qty, true).map(({ id }) => id)).toEqual(["b", "a", "c"]);
  expect(sorted(rows, (row) => row.qty, false).map(({ id }) => id)).toEqual(["a", "c", "b"]);
});

it("finds every word of a filter anywhere", () => {
  expect(matches("buy aap", ["Buy", "AAPL", "WORKING"])).toBe(true);
  expect(matches("buy msft", ["Buy", "AAPL", "WORKING"])).toBe(false);
  expect(matches("", ["Buy"])).toBe(true);
});
