import type { ServerClock } from "./clock";
import type { Delta, PaintedSample } from "./protocol";
import type { Part } from "./store";

export interface View {
  readonly parts: readonly Part[];
  paint(): void;
}

const WAITING_MAX = 400;

/**
 * Paints the views whose parts were touched, once per display frame, and learns when the frame was on the screen.
 * Between frames messages only change the store, so a flood of them costs no layout.
 */
export class Painter {
  private readonly views: View[] = [];
  private readonly touched = new Set<Part>();
  private waiting: Delta[] = [];
  private scheduled = false;
  private readonly afterPaint = new MessageChannel();
  private onScreen: Delta[] = [];

  constructor(
    private readonly clock: ServerClock,
    private readonly painted: (samples: PaintedSample[]) => void,
  ) {
    this.afterPaint.port1.onmessage = () => this.report();
    document.addEventListener("visibilitychange", () => {
      this.waiting = []; // a hidden page paints nothing: its delays are nobody's
    });
  }

  add(view: View): void {
    this.views.push(view);
    for (const part of view.parts) this.touch(part);
  }

  touch(part: Part): void {
    this.touched.add(part);
    if (!this.scheduled) {
      this.scheduled = true;
      requestAnimationFrame(() => this.frame());
    }
  }

  /** A change that the next frame will show; its painted time is reported then. */
  expect(delta: Delta): void {
    if (delta.stamps && !document.hidden && this.waiting.length < WAITING_MAX) this.waiting.push(delta);
  }

  private frame(): void {
    this.scheduled = false;
    const touched = new Set(this.touched);
    this.touched.clear();
    for (const view of this.views) {
      if (view.parts.some((part) => touched.has(part))) view.paint();
    }
    this.onScreen.push(...this.waiting);
    this.waiting = [];
    // A message posted within a frame's callbacks is delivered after the browser has painted that frame.
    if (this.onScreen.length) this.afterPaint.port2.postMessage(null);
  }

  private report(): void {
    const paintedNs = this.clock.ns();
    const samples = this.onScreen.map((delta): PaintedSample => {
      const view = delta.topic.split(":", 1)[0] ?? "";
      return [delta.stamps?.origin_ns ?? 0, delta.stamps?.committed_ns ?? 0, paintedNs, view, delta.traceparent ?? ""];
    });
    this.onScreen = [];
    if (this.clock.known) this.painted(samples);
  }
}
