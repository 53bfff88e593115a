import { describe, expect, it } from "vitest";

import { Sequences } from "./sequences";

describe("sequences of a topic", () => {
  it("applies deltas that name the last message as their predecessor", () => {
    const sequences = new Sequences();
    sequences.snapshot("quote", 1);
    expect(sequences.next({ topic: "quote", prev: 1, seq: 2 })).toBe("apply");
    expect(sequences.next({ topic: "quote", prev: 2, seq: 3 })).toBe("apply");
  });

  it("reports a gap once, and ignores the topic until its next snapshot", () => {
    const sequences = new Sequences();
    sequences.snapshot("order:A", 1);
    expect(sequences.next({ topic: "order:A", prev: 2, seq: 3 })).toBe("gap");
    expect(sequences.next({ topic: "order:A", prev: 3, seq: 4 })).toBe("ignore");
    sequences.snapshot("order:A", 5);
    expect(sequences.next({ topic: "order:A", prev: 5, seq: 6 })).toBe("apply");
  });

  it("ignores topics it has no snapshot of", () => {
    const sequences = new Sequences();
    expect(sequences.next({ topic: "book:A", prev: 0, seq: 1 })).toBe("ignore");
    sequences.snapshot("book:A", 1);
    sequences.forget("book:A");
    expect(sequences.next({ topic: "book:A", prev: 1, seq: 2 })).toBe("ignore");
  });

  it("is behind from a new connection or a gap until every topic that is shown has its next snapshot", () => {
    const sequences = new Sequences();
    expect(sequences.behind).toBe(false);
    sequences.snapshot("quote", 1);
    sequences.snapshot("order:A", 1);
    expect(sequences.behind).toBe(false);
    sequences.clear();
    expect(sequences.behind).toBe(true);
    sequences.snapshot("quote", 1);
    expect(sequences.behind).toBe(true);
    sequences.snapshot("order:A", 1);
    expect(sequences.behind).toBe(false);
    sequences.next({ topic: "order:A", prev: 2, seq: 3 });
    expect(sequences.behind).toBe(true);
    sequences.forget("order:A");
    expect(sequences.behind).toBe(false);
  });
});
