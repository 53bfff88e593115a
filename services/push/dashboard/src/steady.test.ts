import { expect, it } from "vitest";

import { steady } from "./steady";

it("keeps the order that is shown, drops what is gone, and puts what is new behind it", () => {
  expect(steady(["new1", "c", "a", "new2"], ["a", "b", "c"], (one) => one)).toEqual(["a", "c", "new1", "new2"]);
  expect(steady(["b", "a"], [], (one) => one)).toEqual(["b", "a"]);
});
