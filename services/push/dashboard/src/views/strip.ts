import { auditLamp } from "../audit";
import { el, Text } from "../dom";
import { ms } from "../format";
import { DELAYED_MS, redisTrouble, writerAgeMs } from "../freshness";
import type { Lease } from "../lease";
import type { Link } from "../link";
import type { View } from "../painter";
import type { Clock, Health, Path } from "../protocol";
import type { Store } from "../store";

const SERVICES = ["ingest", "signals", "risk", "orders", "push"];
const PATHS: [Path, string][] = [["market", "Feed"], ["orders", "Orders"]];
const CLOCKS: [Clock, string][] = [["processed", "processed"], ["committed", "committed"], ["painted", "painted"]];
const SILENT_MS = 5000;

/** The fleet's readiness, and the three clocks of both paths. */
export class Strip implements View {
  readonly parts = ["health", "status", "link"] as const;
  readonly root = el("footer", "strip");
  private readonly lamps = new Map<string, { node: HTMLElement; text: Text }>();
  private readonly redis = { node: el("span", "lamp"), text: new Text("lamp-name") };
  private readonly audit = { node: el("span", "lamp audit"), text: new Text("lamp-name") };
  private readonly figures = new Map<string, Text>();
  private readonly connection = new Text("connection");

  constructor(
    private readonly store: Store,
    private readonly link: Link,
    private readonly lease: Lease,
    more: HTMLElement[],
  ) {
    const lamps = el("div", "lamps");
    for (const service of SERVICES) {
      const lamp = { node: el("span", "lamp"), text: new Text("lamp-name") };
      lamp.node.append(el("i"), lamp.text.node);
      this.lamps.set(service, lamp);
      lamps.append(lamp.node);
    }
    this.redis.node.append(el("i"), this.redis.text.node);
    this.audit.node.append(el("i"), this.audit.text.node);
    lamps.append(this.redis.node, this.audit.node, ...more);
    const clocks = el("div", "clocks");
    clocks.title = "Milliseconds from the origin (ingest of the tick; intended send time of the order), p50 / p99 of the last minute";
    for (const [path, label] of PATHS) {
      const group = el("div", "clock-path", el("b", "", label));
      for (const [clock, name] of CLOCKS) {
        const value = new Text("clock-value");
        this.figures.set(`${path} ${clock}`, value);
        group.append(el("span", "clock", el("span", "clock-name", name), value.node));
      }
      clocks.append(group);
    }
    this.root.append(lamps, el("div", "gap"), clocks, this.connection.node);
  }

  paint(): void {
    for (const [service, lamp] of this.lamps) this.paintLamp(service, lamp);
    this.paintRedis();
    this.paintAudit();
    for (const [path] of PATHS) {
      for (const [clock] of CLOCKS) {
        const figures = this.store.status?.latency[path]?.[clock];
        const { p50_ms, p99_ms } = figures ?? { p50_ms: null, p99_ms: null };
        const text = p50_ms === null || p99_ms === null ? (figures ? "no samples" : "–") : `${ms(p50_ms)} / ${ms(p99_ms)}`;
        this.figures.get(`${path} ${clock}`)?.set(text);
      }
    }
    const lease = this.lease.note(this.store.choice.account, performance.now());
    this.connection.set(`${lease ? `${lease}  ·  ` : ""}rtt ${this.link.clock.rttMs.toFixed(1)} ms  ·  gaps ${this.link.gaps}`);
  }

  private paintRedis(): void {
    const { status } = this.store;
    const trouble = redisTrouble(status);
    setLamp(this.redis.node, status === undefined ? "unknown" : trouble ? "down" : "ready");
    this.redis.text.set(trouble ? `redis ${trouble}` : "redis");
  }

  private paintAudit(): void {
    const rows = [...this.store.health.values()].filter((row) => row.service === "auditor");
    const lamp = auditLamp(rows, this.link.clock.ms());
    setLamp(this.audit.node, lamp.state);
    this.audit.text.set(lamp.text);
    const hint = rows.map(describe).join("\n") || "no auditor was heard of: `tidemark auditor` starts one";
    if (this.audit.node.title !== hint) this.audit.node.title = hint;
  }

  private paintLamp(service: string, lamp: { node: HTMLElement; text: Text }): void {
    const workers = [...this.store.health.values()].filter((row) => row.service === service);
    const now = this.link.clock.ms();
    const heard = workers.filter((row) => now - row.at_ns / 1e6 < SILENT_MS);
    const ready = heard.filter((row) => row.ready).length;
    const [writer, views] = Object.entries(this.store.status?.views ?? {}).find(([name]) => name.startsWith(`${service}.`)) ?? [];
    const ageMs = views ? writerAgeMs(views, now) : 0;
    const old = views !== undefined && views.state !== "unknown" && (views.state !== "live" || (ageMs ?? Infinity) >= DELAYED_MS);
    const sound = ready === heard.length && !old;
    setLamp(lamp.node, !heard.length ? (workers.length ? "down" : "unknown") : sound ? "ready" : "waiting");
    const name = heard.length > 1 ? `${service} ${ready}/${heard.length}` : service;
    const age = ageMs === undefined ? "" : ` ${Math.round(ageMs / 1000)} s`;
    lamp.text.set(old ? `${name} ${views.state === "live" ? "views" : views.state}${age}` : name);
    const said = views ? [`views of ${writer}: ${views.state}${age}, ${views.heard}/${views.partitions} partitions`] : [];
    const hint = [...said, ...workers.map(describe)].join("\n") || `${service}: never heard of`;
    if (lamp.node.title !== hint) lamp.node.title = hint;
  }
}

function setLamp(node: HTMLElement, state: string): void {
  if (node.dataset["state"] !== state) node.dataset["state"] = state;
}

function describe(row: Health): string {
  const details = Object.entries(row.detail).map(([name, value]) => `  ${name}: ${String(value)}`);
  return [`${row.worker}: ${row.ready ? "ready" : "not ready"}`, ...details].join("\n");
}
