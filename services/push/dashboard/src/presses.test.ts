import { expect, it } from "vitest";

import { ECHO_MS, Presses } from "./presses";

it("a key that is held is one press until it is let go, even where its repeats do not say so", () => {
  const presses = new Presses();
  expect(presses.keyDown(false, 0)).toBe(true);
  expect(presses.keyDown(true, 0)).toBe(false);
  expect(presses.keyDown(false, 0)).toBe(false);
  presses.keyUp();
  expect(presses.keyDown(false, 0)).toBe(true);
});

it("presses of the same order in quick succession are one, however many", () => {
  const presses = new Presses();
  const decided = Array.from({ length: 20 }, (_, n) => presses.decides("Buy 1 A", n * (ECHO_MS - 1)));
  expect(decided.filter(Boolean)).toHaveLength(1);
});

it("what a remote desktop makes of a held key, after its repeats, is still the first press", () => {
  const presses = new Presses();
  expect(presses.keyDown(false, 0) && presses.decides("Buy 1 A", 0)).toBe(true);
  for (let at = 0; at < 3 * ECHO_MS; at += 30) presses.keyDown(true, at);
  presses.keyUp();
  expect(presses.keyDown(false, 3 * ECHO_MS)).toBe(true);
  expect(presses.decides("Buy 1 A", 3 * ECHO_MS)).toBe(false);
});

it("another order, or the same one after a while, is a decision", () => {
  const presses = new Presses();
  expect(presses.decides("Buy 1 A", 0)).toBe(true);
  expect(presses.decides("Sell 1 A", 1)).toBe(true);
  expect(presses.decides("Sell 1 A", 1 + ECHO_MS)).toBe(true);
});
