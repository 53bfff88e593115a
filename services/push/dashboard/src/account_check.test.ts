import { expect, it } from "vitest";

import { AccountCheck, type AccountState } from "./account_check";

function made() {
  const states: AccountState[] = [];
  const asked: string[] = [];
  const answers: ((found: "found" | "unknown" | "away") => void)[] = [];
  const check = new AccountCheck(
    (account) => {
      asked.push(account);
      return new Promise((done) => answers.push(done));
    },
    (state) => states.push(state),
  );
  return { check, states, asked, answers };
}
const settled = () => new Promise((done) => setTimeout(done, 0));

it("an account with a view is known without a question", async () => {
  const { check, states, asked } = made();
  check.choose("A1", 0);
  check.seen("A1");
  await check.tick(1_000);
  expect([states, asked]).toEqual([["checking", "known"], []]);
});

it("without a view the API says whether it is one; a name that is none is asked about again", async () => {
  const { check, states, asked, answers } = made();
  check.choose("A1", 0);
  void check.tick(100);
  expect(asked).toEqual([]);
  void check.tick(500);
  answers[0]?.("unknown");
  await settled();
  void check.tick(1_000);
  void check.tick(3_600);
  answers[1]?.("found");
  await settled();
  expect([states, asked.length]).toEqual([["checking", "unknown", "known"], 2]);
});

it("an answer about an account that is no longer chosen says nothing about the one that is", async () => {
  const { check, states, answers } = made();
  check.choose("A1", 0);
  void check.tick(500);
  check.choose("A2", 600);
  answers[0]?.("unknown");
  await settled();
  expect(states).toEqual(["checking"]);
  void check.tick(1_100);
  answers[1]?.("away");
  await settled();
  expect(states).toEqual(["checking", "unconfirmed"]);
});

it("a view that comes while the question is out decides", async () => {
  const { check, states, answers } = made();
  check.choose("A1", 0);
  void check.tick(500);
  check.seen("A1");
  answers[0]?.("unknown");
  await settled();
  expect(states.at(-1)).toBe("known");
});

it("no account is none", () => {
  const { check, states } = made();
  check.choose("A1", 0);
  check.choose("", 1);
  expect(states).toEqual(["checking", "none"]);
});
