import type { Delta } from "./protocol";

export type Verdict = "apply" | "gap" | "ignore";

/** Where each topic stands: a delta that does not name the last message as its predecessor shows a gap. */
export class Sequences {
  private readonly at = new Map<string, number>();
  private readonly shown = new Set<string>();

  /** Whether rows are shown that may have been overtaken: their topic has lost count, and its next snapshot is awaited. */
  get behind(): boolean {
    return this.shown.size > this.at.size;
  }

  snapshot(topic: string, seq: number): void {
    this.at.set(topic, seq);
    this.shown.add(topic);
  }

  /** "gap" once; until the topic's next snapshot its deltas are to be ignored. */
  next(delta: Pick<Delta, "topic" | "seq" | "prev">): Verdict {
    const at = this.at.get(delta.topic);
    if (at === undefined) return "ignore";
    if (delta.prev !== at) {
      this.at.delete(delta.topic);
      return "gap";
    }
    this.at.set(delta.topic, delta.seq);
    return "apply";
  }

  forget(topic: string): void {
    this.at.delete(topic);
    this.shown.delete(topic);
  }

  /** The connection is a new one: what is shown stays, and its topics are counted from their next snapshots. */
  clear(): void {
    this.at.clear();
  }
}
