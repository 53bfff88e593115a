import { expect, it } from "vitest";

import { COLUMN_NS, DepthHistory } from "./depth_history";
import type { Book } from "./protocol";

const book = (column: number, bid: [number, number], ask: [number, number]): Book => ({
  symbol: "AAPL",
  bids: [bid],
  asks: [ask],
  event_ns: column * COLUMN_NS + 5,
});

it("keeps the newest book of a column, and fills those in which nothing changed with what stood", () => {
  const history = new DepthHistory();
  history.add(book(0, [100, 7], [200, 1]));
  history.add(book(0, [100, 9], [200, 1]));
  history.add(book(3, [100, 2], [200, 1]));
  expect(history.columns.map(({ ns, levels }) => [ns / COLUMN_NS, levels[0]?.size])).toEqual([[0, 9], [1, 9], [2, 9], [3, 2]]);
});

it("holds so many columns, whatever the gap between two books", () => {
  const history = new DepthHistory(4);
  history.add(book(0, [100, 7], [200, 1]));
  history.add(book(1_000_000, [100, 2], [200, 1]));
  expect(history.columns.map(({ ns }) => ns / COLUMN_NS)).toEqual([999_997, 999_998, 999_999, 1_000_000]);
});

it("begins anew where the exchange's clock goes back", () => {
  const history = new DepthHistory();
  history.add(book(9, [100, 7], [200, 1]));
  history.add(book(2, [100, 3], [200, 1]));
  expect(history.columns.map(({ ns }) => ns / COLUMN_NS)).toEqual([2]);
});

it("has rows as high as the least gap between prices, and few enough to be seen", () => {
  const history = new DepthHistory();
  expect(history.scale()).toBeUndefined();
  history.add(book(0, [1_000, 7], [1_200, 40]));
  history.add(book(1, [1_100, 7], [1_200, 1]));
  expect(history.scale()).toEqual({ low: 1_000, high: 1_300, step: 100, most: 40 });
  history.add(book(2, [1_101, 7], [1_000_000, 1]));
  const scale = history.scale();
  expect(scale && (scale.high - scale.low) / scale.step).toBeLessThanOrEqual(120);
});
