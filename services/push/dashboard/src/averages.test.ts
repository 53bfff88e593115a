import { expect, it } from "vitest";

import { type Average, Exponential, Simple } from "./averages";

const CLOSES = [10, 11, 13, 12, 15, 14, 18];
const over = (average: Average, closes: number[]): (number | undefined)[] => closes.map((close) => average.next(close));

it("is the mean of the newest closes, and nothing before there are as many", () => {
  expect(over(new Simple(3), CLOSES)).toEqual([undefined, undefined, 34 / 3, 12, 40 / 3, 41 / 3, 47 / 3]);
});

it("weighs the newest by 2 / (periods + 1), after the mean of the first ones", () => {
  expect(over(new Exponential(3), CLOSES.slice(0, 5))).toEqual([undefined, undefined, 34 / 3, (34 / 3 + 12) / 2, ((34 / 3 + 12) / 2 + 15) / 2]);
});

it("says of a close that changes what it would have said of its last value alone", () => {
  for (const make of [() => new Simple(3), () => new Exponential(3)]) {
    const changed = make();
    const said = CLOSES.map((close) => {
      changed.next(close + 7);
      changed.replace(close - 2);
      return changed.replace(close);
    });
    const expected = over(make(), CLOSES);
    said.forEach((value, at) => (value === undefined ? expect(expected[at]).toBeUndefined() : expect(value).toBeCloseTo(expected[at] ?? NaN, 9)));
  }
});
