import { expect, it } from "vitest";

import { indexAt } from "./bars_at";

const BARS = [10, 20, 40].map((window_start_ns) => ({ window_start_ns }));

it("finds the bar that holds a moment, and the last one before a gap", () => {
  expect([10, 19, 20, 39, 40, 1e9].map((ns) => indexAt(BARS, ns))).toEqual([0, 0, 1, 1, 2, 2]);
});

it("shows the first bar where the moment is before all of them, and nothing where there is none", () => {
  expect(indexAt(BARS, 5)).toBe(0);
  expect(indexAt([], 5)).toBe(-1);
});
