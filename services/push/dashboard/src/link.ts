import { ServerClock } from "./clock";
import type { Delta, PaintedSample, ServerMessage, Status } from "./protocol";
import { Sequences } from "./sequences";

export type LinkState = "connecting" | "live" | "stale" | "offline";

export interface LinkEvents {
  snapshot(topic: string, rows: Record<string, unknown>): void;
  delta(delta: Delta): void;
  status(status: Status): void;
  state(state: LinkState): void;
  problem(reason: string): void;
}

const BACKOFF_MS = [250, 500, 1000, 2000, 4000, 5000];
const STALE_AFTER_MS = 3000;
const PING_MS = 2000;
const PAINTED_MS = 500;
const SAMPLES_MAX = 400;

/**
 * The WebSocket to push: comes back by itself with all topics, asks for a topic again when its numbers show a gap, and
 * says "stale" when nothing was heard for three seconds (push speaks every second).
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
  private pinged = 0;
  private reported = 0;
  private redisUp = true;

  constructor(
    private readonly url: string,
    private readonly events: LinkEvents,
  ) {}

  start(): void {
    this.connect();
    setInterval(() => this.tick(), 250);
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
      this.heard = performance.now();
      this.sequences.clear();
      this.clock.clear();
      if (this.topics.size) this.send({ op: "subscribe", topics: [...this.topics] });
      for (let n = 0; n < 4; n++) setTimeout(() => this.ping(), n * 60);
    };
    socket.onmessage = (event: MessageEvent<string>) => this.receive(event.data, performance.now());
    socket.onclose = () => this.lost(socket);
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
    this.heard = at;
    const message = JSON.parse(text) as ServerMessage;
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
        this.redisUp = message.redis.up;
        this.events.status(message);
        break;
      case "pong":
        this.clock.pong(message.t, at, message.now_ns);
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

  private tick(): void {
    const now = performance.now();
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
    this.set(now - this.heard > STALE_AFTER_MS || !this.redisUp ? "stale" : "live");
  }

  private ping(): void {
    this.pinged = performance.now();
    this.send({ op: "ping", t: this.pinged });
  }

  private set(state: LinkState): void {
    if (state === this.state) return;
    this.state = state;
    this.events.state(state);
  }

  private send(message: unknown): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
