import { expect, it } from "vitest";

import { compact, compared, money, percent, price, roundMoney, timeOfDay, whole } from "./format";

it("writes prices and money from integers, without a float's rounding", () => {
  expect(price(5_853_300)).toBe("585.33");
  expect(price(1_2345)).toBe("1.2345");
  expect(price(0)).toBe("–");
  expect(money(12_345_678_900)).toBe("1,234,567.89");
  expect(money(-15_000)).toBe("−1.50");
  expect(price(5_853_300n)).toBe("585.33");
  expect(price(12_345n)).toBe("1.2345");
  expect(price(90_071_992_547_409_93n)).toBe("900719925474.0993");
  expect(money(2n ** 63n - 1n)).toBe("922,337,203,685,477.58");
  expect(whole(2n ** 53n + 1n)).toBe("9,007,199,254,740,993");
});

it("writes money without its cents where it is large, rounded away from nothing", () => {
  expect([99_999_999n, -15_000n, 0n].map(roundMoney)).toEqual(["10,000.00", "−1.50", "0.00"]);
  expect([100_000_000n, 100_005_000n, -1_234_567_890_000n].map(roundMoney)).toEqual(["10,000", "10,001", "−123,456,789"]);
});

it("writes the numbers behind a verdict by the unit in their name", () => {
  expect(compared("needed_cash_e4", 585_330_000)).toBe("needed cash 58,533.00");
  expect(compared("mark_age_ms", 6200)).toBe("mark age 6,200 ms");
  expect(compared("qty", 1500)).toBe("qty 1,500");
});

it("shortens what is scanned, and signs changes", () => {
  expect(compact(9_999)).toBe("9,999");
  expect(compact(1_234_567)).toBe("1.23M");
  expect(percent(1.234)).toBe("+1.23");
  expect(percent(-0.5)).toBe("−0.50");
  expect(percent(-0.001)).toBe("0.00");
});

it("shows exchange time, New York", () => {
  expect(timeOfDay(Date.UTC(2012, 5, 21, 13, 30, 0) * 1e6)).toBe("09:30:00");
});
