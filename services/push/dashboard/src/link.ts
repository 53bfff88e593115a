import { ServerClock } from "./clock";
import { type Freshness, freshness } from "./freshness";
import type { Delta, Me, PaintedSample, Status } from "./protocol";
import { Sequences } from "./sequences";
import { decode } from "./wire";

/** `delayed`: what is shown is some seconds old; `stale`: older, not complete, or nobody knows. */
export type LinkState = "connecting" | "live" | "delayed" | "stale" | "offline";

export interface LinkEvents {
  snapshot(topic: string, rows: Record<string, unknown>): void;
  delta(delta: Delta): void;
  status(status: Status): void;
  state(state: LinkState): void;
  problem(reason: string): void;
  me(me: Me): void;
  /** The token was not good (any more). */
  unauthenticated(): void;
}

const BACKOFF_MS = [250, 500, 1000, 2000, 4000, 5000];
const STALE_AFTER_MS = 3000;
const PING_MS = 2000;
const PAINTED_MS = 500;
const SAMPLES_MAX = 400;
const UNAUTHENTICATED = 4401;
const SLEPT_MS = 1000; // the two clocks of the browser part by so much only while it sleeps

/**
 * The WebSocket to push: comes back by itself with all topics, asks for a topic again when its numbers show a gap, and
 * says "stale" when nothing was heard for three seconds (push speaks every second), or when what was heard is old.
 */
export class Link {
  readonly clock = new ServerClock();
  gaps = 0;
  reconnects = 0;
  private readonly topics = new Set<string>();
  private readonly sequences = new Sequences();
  private samples: PaintedSample[] = [];
  private socket: WebSocket | undefined;
  private state: LinkState = "connecting";
  private attempts = 0;
  private heard = 0;
  private heardAt = 0; // the same by the wall clock, which does not stand still while the machine sleeps
  private drift = Date.now() - performance.now();
  private pinged = 0;
  private reported = 0;
  private status: Status | undefined;
  /** What is shown, by the clock in the data; the words for the pill and the banner. */
  fresh: Freshness = { state: "live", text: "LIVE", why: "", asOfMs: 0 };

  constructor(
    private readonly url: string,
    private readonly events: LinkEvents,
    private readonly token: () => string,
  ) {}

  start(): void {
    this.connect();
    setInterval(() => this.tick(), 250);
    document.addEventListener("visibilitychange", () => this.tick()); // a hidden page's timers are slow
  }

  subscribe(topics: string[]): void {
    const fresh = topics.filter((topic) => !this.topics.has(topic));
    for (const topic of fresh) this.topics.add(topic);
    if (fresh.length) this.send({ op: "subscribe", topics: fresh });
  }

  unsubscribe(topics: string[]): void {
    const known = topics.filter((topic) => this.topics.delete(topic));
    for (const topic of known) this.sequences.forget(topic);
    if (known.length) this.send({ op: "unsubscribe", topics: known });
  }

  /** Says who it is, and again with another token. */
  authenticate(): void {
    const token = this.token();
    if (token) this.send({ op: "authenticate", token });
  }

  /** When changes were on the screen. More than push wants to hear are left out, oldest first. */
  painted(samples: PaintedSample[]): void {
    this.samples.push(...samples);
    if (this.samples.length > SAMPLES_MAX) this.samples = this.samples.slice(-SAMPLES_MAX);
  }

  private connect(): void {
    this.set(this.attempts ? "offline" : "connecting");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onopen = () => {
      this.hear(performance.now());
      this.status = undefined;
      this.sequences.clear();
      this.clock.clear();
      this.authenticate();
      if (this.topics.size) this.send({ op: "subscribe", topics: [...this.topics] });
      for (let n = 0; n < 4; n++) setTimeout(() => this.ping(), n * 60);
    };
    socket.onmessage = (event: MessageEvent<string>) => this.receive(event.data, performance.now());
    socket.onclose = ({ code }) => {
      if (code === UNAUTHENTICATED) this.events.unauthenticated();
      this.lost(socket);
    };
  }

  private lost(socket: WebSocket): void {
    if (socket !== this.socket) return;
    this.socket = undefined;
    this.set("offline");
    const base = BACKOFF_MS[Math.min(this.attempts, BACKOFF_MS.length - 1)] ?? 5000;
    this.attempts += 1;
    this.reconnects += 1;
    setTimeout(() => this.connect(), base * (0.75 + Math.random() / 2));
  }

  private receive(text: string, at: number): void {
    this.hear(at);
    const message = decode(text);
    switch (message.op) {
      case "hello":
        this.attempts = 0;
        break;
      case "snapshot":
        if (!this.topics.has(message.topic)) break;
        this.sequences.snapshot(message.topic, message.seq);
        this.events.snapshot(message.topic, message.rows);
        break;
      case "frame":
        for (const delta of message.deltas) this.take(delta);
        break;
      case "health":
        this.status = message;
        this.events.status(message);
        break;
      case "pong":
        this.clock.pong(message.t, at, message.now_ns);
        break;
      case "me":
        this.events.me(message);
        break;
      case "error":
        this.events.problem(message.reason);
        break;
    }
    this.judge(at);
  }

  private take(delta: Delta): void {
    const verdict = this.sequences.next(delta);
    if (verdict === "apply") this.events.delta(delta);
    if (verdict === "gap") {
      this.gaps += 1;
      this.send({ op: "resync", topic: delta.topic });
    }
  }

  private hear(at: number): void {
    this.heard = at;
    this.heardAt = Date.now();
  }

  /** How long nothing was heard, in ms, the time that the machine has slept included. */
  private silentMs(now: number): number {
    return Math.max(now - this.heard, Date.now() - this.heardAt);
  }

  /** After a sleep, what was learnt of the server's clock is void. */
  private noticeSleep(now: number): void {
    const drift = Date.now() - now;
    if (Math.abs(drift - this.drift) > SLEPT_MS) {
      this.clock.clear();
      this.ping();
    }
    this.drift = drift;
  }

  private tick(): void {
    const now = performance.now();
    this.noticeSleep(now);
    if (!this.socket || this.socket.readyState !== WebSocket.OPEN) return;
    this.judge(now);
    if (now - this.heard > 4 * STALE_AFTER_MS) {
      const silent = this.socket; // a half-open connection never closes by itself
      silent.close();
      this.lost(silent);
      return;
    }
    if (now - this.pinged > PING_MS) this.ping();
    if (this.samples.length && now - this.reported > PAINTED_MS && this.clock.known) {
      this.reported = now;
      this.send({ op: "painted", samples: this.samples });
      this.samples = [];
    }
  }

  private judge(now: number): void {
    if (!this.status) return; // push says how old everything is right after its hello
    const silent = this.silentMs(now);
    const names = new Set([...this.topics].map((topic) => topic.split(":", 1)[0] ?? ""));
    const nowMs = this.clock.ms(now);
    const fresh: Freshness =
      silent > STALE_AFTER_MS
        ? { state: "stale", text: `STALE ${Math.round(silent / 1000)} s`, why: "Nothing was heard", asOfMs: nowMs - silent }
        : freshness(this.status, names, nowMs, this.sequences.behind);
    const changed = fresh.text !== this.fresh.text || fresh.why !== this.fresh.why;
    this.fresh = fresh;
    this.set(fresh.state, changed);
  }

  private ping(): void {
    this.pinged = performance.now();
    this.send({ op: "ping", t: this.pinged });
  }

  private set(state: LinkState, changed = false): void {
    if (state === this.state && !changed) return;
    this.state = state;
    this.events.state(state);
  }

  private send(message: unknown): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
