import { expect, it } from "vitest";

import type { Found } from "./orders_api";
import { ProfitFeed, unrealisedE4 } from "./profit_feed";
import type { Account, Profit } from "./protocol";

const account = (account_id: string, seq: number): Account => ({ account_id, seq, status: "ACTIVE", cash_e4: 0n, reserved_cash_e4: 0n, positions: [] });
const profit = (account_id: string, seq: number): Profit => ({ account_id, seq, realised_average_e4: 0n, positions: [] });

function made() {
  const asked: string[] = [];
  const found: Profit[] = [];
  const answers: ((answer: Found<Profit>) => void)[] = [];
  const feed = new ProfitFeed(
    (name) => {
      asked.push(name);
      return new Promise((done) => answers.push(done));
    },
    (one) => found.push(one),
  );
  return { feed, asked, found, answers };
}
const settled = () => new Promise((done) => setTimeout(done, 0));

it("is asked for when something was booked, and not again until more is", async () => {
  const { feed, asked, found, answers } = made();
  void feed.tick(undefined, 0);
  void feed.tick(account("A1", 3), 0);
  void feed.tick(account("A1", 4), 2_000);
  expect(asked).toEqual(["A1"]);
  answers[0]?.({ kind: "found", value: profit("A1", 4) });
  await settled();
  void feed.tick(account("A1", 4), 4_000);
  void feed.tick(account("A1", 5), 4_100);
  expect([asked.length, found]).toEqual([2, [profit("A1", 4)]]);
});

it("is asked for once a second at most, and again where nobody could say or it is behind", async () => {
  const { feed, asked, answers } = made();
  void feed.tick(account("A1", 3), 0);
  answers[0]?.({ kind: "away" });
  await settled();
  void feed.tick(account("A1", 3), 500);
  expect(asked.length).toBe(1);
  void feed.tick(account("A1", 3), 1_000);
  answers[1]?.({ kind: "found", value: profit("A1", 2) });
  await settled();
  void feed.tick(account("A1", 3), 2_000);
  answers[2]?.({ kind: "found", value: profit("A1", 3) });
  await settled();
  void feed.tick(account("A2", 1), 3_000);
  expect(asked).toEqual(["A1", "A1", "A1", "A2"]);
});

it("what is open is worth its price less its cost, short positions too; without a price nobody knows", () => {
  const open = [
    { symbol: "ACME", qty: 10n, cost_average_e4: 900_000n },
    { symbol: "SHRT", qty: -5n, cost_average_e4: -600_000n },
    { symbol: "GONE", qty: 0n, cost_average_e4: 0n },
  ];
  const prices: Record<string, number> = { ACME: 100_000, SHRT: 110_000 };
  expect(unrealisedE4(open, (symbol) => prices[symbol] ?? 0)).toBe(100_000n + 50_000n);
  expect(unrealisedE4(open, () => 0)).toBeUndefined();
  expect(unrealisedE4([], () => 0)).toBe(0n);
});
