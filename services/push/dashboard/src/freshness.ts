import type { LinkState } from "./link";
import type { RedisState, Status, WriterStatus } from "./protocol";

export const DELAYED_MS = 4000; // writers speak twice a second, push once: younger is as new as it can be told
export const STALE_MS = 15_000;

/** Whether what is on the screen is new, in the words of the pill (`text`) and of the banner (`why`). */
export interface Freshness {
  state: Extract<LinkState, "live" | "delayed" | "stale">;
  text: string;
  why: string;
  asOfMs: number; // server ms of the oldest part; 0: not known
}

const PARTS: Record<string, string> = { signals: "market", risk: "account", orders: "orders" };
const ORDER = Object.values(PARTS); // in which they are named, whichever writer spoke first
const ILL: Partial<Record<RedisState, string>> = {
  full: "full",
  "read-only": "read-only",
  evicting: "evicting",
  unreachable: "away",
};

/** What is wrong with Redis in a word; empty where nothing is. */
export function redisTrouble(status: Status | undefined): string {
  if (!status) return "";
  return status.redis.up ? (ILL[status.redis.state ?? "ok"] ?? "") : "away";
}

/** How old what a writer shows is, in ms; undefined where nobody knows. */
export function writerAgeMs(writer: WriterStatus, nowMs: number): number | undefined {
  return writer.as_of_ns ? Math.max(0, nowMs - writer.as_of_ns / 1e6) : undefined;
}

/** Whether every row of a view is there and new enough to be believed. */
export function isLive(status: Status | undefined, view: string, nowMs: number): boolean {
  const writer = Object.values(status?.views ?? {}).find(({ views }) => views.includes(view));
  return writer?.state === "live" && (writerAgeMs(writer, nowMs) ?? Infinity) < STALE_MS && !redisTrouble(status);
}

/**
 * Of the views that are looked at (`views`: their names), the worst one speaks. A push that says nothing of them is old.
 * `behind`: rows are shown that came before a gap, or over a connection that was lost, however new the writers' word is.
 */
export function freshness(status: Status | undefined, views: ReadonlySet<string>, nowMs: number, behind = false): Freshness {
  const parts = Object.entries(status?.views ?? {})
    .filter(([, writer]) => writer.views.some((view) => views.has(view)))
    .map(([name, writer]) => ({ part: PARTS[name.split(".", 1)[0] ?? ""] ?? name, writer, ageMs: writerAgeMs(writer, nowMs) }))
    .sort((a, b) => ORDER.indexOf(a.part) - ORDER.indexOf(b.part));
  const ages = parts.map(({ ageMs }) => ageMs ?? 0);
  const oldestMs = Math.max(0, ...ages);
  const asOfMs = oldestMs ? nowMs - oldestMs : 0;
  const trouble = redisTrouble(status);
  if (trouble) return { state: "stale", text: `STALE · REDIS ${trouble === "away" ? "" : trouble.toUpperCase()}`.trim(), why: `Redis is ${trouble}`, asOfMs };
  const incomplete = parts.filter(({ writer, ageMs }) => writer.state !== "live" || ageMs === undefined);
  if (incomplete.length) {
    const [{ part, writer, ageMs }] = incomplete as [(typeof incomplete)[number]];
    const names = incomplete.map((each) => each.part).join(", ");
    if (ageMs === undefined) return { state: "stale", text: `NO ${part.toUpperCase()}`, why: `Nothing was heard of: ${names}`, asOfMs };
    if (writer.state === "silent") return { state: "stale", text: `STALE ${seconds(ageMs)}`, why: `No word of: ${names}`, asOfMs };
    return { state: "stale", text: `INCOMPLETE · ${part.toUpperCase()}`, why: `Not every row is here: ${names}`, asOfMs };
  }
  if (behind && oldestMs < STALE_MS) return { state: "stale", text: "INCOMPLETE", why: "Newer rows are on their way", asOfMs };
  if (oldestMs < DELAYED_MS) return { state: "live", text: "LIVE", why: "", asOfMs };
  const old = parts.filter(({ ageMs }) => (ageMs ?? 0) >= DELAYED_MS).map(({ part }) => part);
  const why = `Behind: ${old.join(", ")}`;
  if (oldestMs < STALE_MS) return { state: "delayed", text: `DELAYED ${seconds(oldestMs)}`, why, asOfMs };
  return { state: "stale", text: `STALE ${seconds(oldestMs)}`, why, asOfMs };
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? "" : `${Math.round(ms / 1000)} s`;
}
