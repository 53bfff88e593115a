import { describe as group, expect, it } from "vitest";

import { cautions, describe, type Draft, notionalE4, sameOrder } from "./order_draft";

const draft = (change: Partial<Draft> = {}): Draft => ({
  account_id: "A1", symbol: "AAPL", side: "B", order_type: "LIMIT", time_in_force: "DAY", qty: 100n, limit_price_e4: 1_000_000n, ...change,
});
const market = (change: Partial<Draft> = {}): Draft => {
  const { limit_price_e4: _, ...rest } = draft({ order_type: "MARKET", ...change });
  return rest;
};
const TOUCH = { bid_e4: 999_900, ask_e4: 1_000_000, last_e4: 999_900 };
const LIMITS = { qty: 10_000n, notional_e4: 20_000_000_000n, through_e2: 300n };

it("says the order by its integers", () => {
  expect(describe(draft({ qty: 1_500n }))).toBe("Buy 1,500 AAPL @ 100.00");
  expect(describe(market({ side: "S" }))).toBe("Sell 100 AAPL at market");
});

it("knows the same order again, whatever field differs", () => {
  expect(sameOrder(draft(), draft())).toBe(true);
  for (const change of [{ account_id: "A2" }, { symbol: "B" }, { side: "S" }, { time_in_force: "IOC" }, { time_in_force: "GTC" }, { qty: 1n }, { limit_price_e4: 1n }] as const) {
    expect(sameOrder(draft(), draft(change))).toBe(false);
  }
  expect(sameOrder(draft(), market())).toBe(false);
});

it("multiplies beyond 2^53 without losing a digit", () => {
  expect(notionalE4(draft({ qty: 2n ** 53n + 1n, limit_price_e4: 3n }), undefined)).toBe(3n * (2n ** 53n + 1n));
  expect(notionalE4(market(), TOUCH)).toBe(100_000_000n);
  expect(notionalE4(market({ side: "S" }), TOUCH)).toBe(99_990_000n);
});

group("what is asked about", () => {
  const found = (order: Draft, limits = LIMITS as object, touch: typeof TOUCH | undefined = TOUCH, current = true) => cautions(order, touch, current, limits);

  it("is not an everyday order", () => {
    expect(found(draft())).toEqual([]);
    expect(found(market())).toEqual([]);
    expect(found(draft({ limit_price_e4: 10_000n }))).toEqual([]);
  });

  it("is a size beyond the limit, in shares or in money", () => {
    expect(found(draft({ qty: 10_000n, limit_price_e4: 10_000n }))).toEqual([]);
    expect(found(draft({ qty: 10_001n, limit_price_e4: 10_000n }))).toEqual(["10,001 shares are more than 10,000"]);
    expect(found(market({ qty: 10_000n }), { notional_e4: 9_999_999_999n })).toEqual(["1,000,000.00 is more than 1,000,000.00"]);
  });

  it("is a price that trades far through the quote", () => {
    expect(found(draft({ limit_price_e4: 1_030_000n }))).toEqual([]);
    expect(found(draft({ limit_price_e4: 1_030_100n }))).toEqual(["The price is 3.01 % above the ask 100.00"]);
    expect(found(draft({ side: "S", limit_price_e4: 1n }))).toEqual(["The price is 100.00 % below the bid 99.99"]);
    expect(found(draft({ side: "S", limit_price_e4: 100_000_000n }))).toEqual([]);
  });

  it("is a price far behind the quote where that was asked for", () => {
    const limits = { ...LIMITS, away_e2: 1_000n };
    expect(found(draft({ limit_price_e4: 500_000n }), limits)).toEqual(["The price is 49.99 % below the bid 99.99"]);
    expect(found(draft({ side: "S", limit_price_e4: 2_000_000n }), limits)).toEqual(["The price is 100.00 % above the ask 100.00"]);
  });

  it("is a price without a quote, by the last sale where there is one", () => {
    expect(cautions(draft(), undefined, true, LIMITS)).toEqual(["There is no quote to compare the price with"]);
    expect(cautions(draft({ limit_price_e4: 2_000_000n }), { bid_e4: 0, ask_e4: 0, last_e4: 1_000_000 }, true, LIMITS)).toEqual([
      "The price is 100.00 % above the last sale 100.00",
    ]);
  });

  it("is any order while the screen is stale, and nothing where every limit is off", () => {
    expect(cautions(draft(), TOUCH, false, LIMITS)).toEqual(["The prices on this screen are not current"]);
    expect(cautions(draft({ qty: 10n ** 12n, limit_price_e4: 10n ** 12n }), undefined, true, {})).toEqual([]);
  });
});
