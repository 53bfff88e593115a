/** A second press of the same order within this time is taken for the first one's echo: a double click, a bouncing key. */
export const ECHO_MS = 600;

/** Tells a person's decision from its echoes: a key that repeats, a key still held, a double click. */
export class Presses {
  private held = false;
  private last: { what: string; at: number } | undefined;

  /** A key went down at `at` (ms); false where it repeats or was never let go. */
  keyDown(repeat: boolean, at: number): boolean {
    const fresh = !repeat && !this.held;
    this.held = true;
    if (!fresh && this.last) this.last.at = at;
    return fresh;
  }

  keyUp(): void {
    this.held = false;
  }

  /** Whether a press at `at` (ms) that would send `what` is a decision of its own. Every press, and every repeat, begins the time anew. */
  decides(what: string, at: number): boolean {
    const echo = this.last?.what === what && at - this.last.at < ECHO_MS;
    this.last = { what, at };
    return !echo;
  }
}
