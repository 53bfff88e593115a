import { expect, test } from "vitest";
import { auditLamp } from "./audit";
import type { Health } from "./protocol";

const NOW_MS = 1_800_000_000_000;

function row(detail: Record<string, unknown>, ageMs = 1_000, worker = "auditor-1"): Health {
  const at_ns = (NOW_MS - ageMs) * 1e6;
  const all = { "audit.looked_ns": at_ns, "audit.divergent": 0, "audit.sequence_errors": 0, "audit.unreadable": 0 };
  return { service: "auditor", worker, ready: true, at_ns, detail: { ...all, ...detail } };
}

test("nothing differs: ok, with the age of the last look", () => {
  expect(auditLamp([row({})], NOW_MS)).toEqual({ state: "ready", text: "audit ok · 1 s" });
});

test("rows that differ and entries out of sequence are counted together", () => {
  const lamp = auditLamp([row({ "audit.divergent": 2, "audit.sequence_errors": 1 })], NOW_MS);
  expect(lamp).toEqual({ state: "down", text: "audit 3 divergent · 1 s" });
});

test("open breaks and dead letters are as loud as rows that differ", () => {
  const lamp = auditLamp([row({ "audit.breaks_open": 1, "audit.dead_letters": 2 })], NOW_MS);
  expect(lamp).toEqual({ state: "down", text: "audit 1 break open, 2 dead letters · 1 s" });
  const both = auditLamp([row({ "audit.divergent": 4, "audit.breaks_open": 2, "audit.unreadable": 1 })], NOW_MS);
  expect(both.text).toBe("audit 4 divergent, 2 breaks open, 1 unread · 1 s");
});

test("a fence that is raised is said, for the gate stands still there", () => {
  const lamp = auditLamp([row({ "audit.fences": 1, "audit.divergent": 2 })], NOW_MS);
  expect(lamp).toEqual({ state: "down", text: "audit 2 divergent, gate fenced (1) · 1 s" });
});

test("an auditor that has not looked for ten seconds is silent, whatever it said last", () => {
  expect(auditLamp([row({}, 10_001)], NOW_MS)).toEqual({ state: "down", text: "audit silent" });
  const still = row({ "audit.looked_ns": (NOW_MS - 11_000) * 1e6 }, 500);
  expect(auditLamp([still], NOW_MS).text).toBe("audit silent");
});

test("of several auditors the one that looked last speaks", () => {
  const rows = [row({ "audit.divergent": 1 }, 60_000, "a"), row({}, 2_000, "b")];
  expect(auditLamp(rows, NOW_MS).text).toBe("audit ok · 2 s");
});

test("before the first look, without a store, and without an auditor nothing is said to be ok", () => {
  expect(auditLamp([row({ "audit.looked_ns": 0 })], NOW_MS).text).toBe("audit starting");
  expect(auditLamp([row({ "audit.unreadable": 1 })], NOW_MS)).toEqual({ state: "waiting", text: "audit 1 unread · 1 s" });
  expect(auditLamp([{ ...row({}), service: "risk" }], NOW_MS).state).toBe("unknown");
});
