import type { Health } from "./protocol";

export const AUDIT_SILENT_MS = 10_000;

/** What the strip says of the live auditor: is money where the ledger says, and how long ago was that looked at. */
export interface AuditLamp {
  state: "unknown" | "waiting" | "ready" | "down";
  text: string;
}

/** From the auditors' health rows; of several the one that looked last speaks. */
export function auditLamp(rows: Iterable<Health>, nowMs: number): AuditLamp {
  const found = [...rows].filter((row) => row.service === "auditor");
  if (!found.length) return { state: "unknown", text: "audit" };
  const [row] = found.sort((a, b) => number(b, "looked_ns") - number(a, "looked_ns"));
  const lookedMs = number(row!, "looked_ns") / 1e6;
  const ageMs = nowMs - (lookedMs || row!.at_ns / 1e6);
  if (ageMs > AUDIT_SILENT_MS) return { state: "down", text: "audit silent" };
  if (!lookedMs) return { state: "waiting", text: "audit starting" };
  const wrong = number(row!, "divergent") + number(row!, "sequence_errors");
  const age = `${Math.max(0, Math.round(ageMs / 1000))} s`;
  const breaks = number(row!, "breaks_open");
  const dead = number(row!, "dead_letters");
  const fences = number(row!, "fences");
  const unread = number(row!, "unreadable");
  const waiting = [
    fences && `gate fenced (${fences})`,
    breaks && `${breaks} ${breaks === 1 ? "break" : "breaks"} open`,
    dead && `${dead} dead ${dead === 1 ? "letter" : "letters"}`,
  ].filter(Boolean);
  const said = [wrong && `${wrong} divergent`, ...waiting, unread && `${unread} unread`].filter(Boolean);
  if (!said.length) return { state: "ready", text: `audit ok · ${age}` };
  return { state: wrong || waiting.length ? "down" : "waiting", text: `audit ${said.join(", ")} · ${age}` };
}

function number(row: Health, name: string): number {
  return Number(row.detail[`audit.${name}`] ?? 0);
}
