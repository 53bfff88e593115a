import { el } from "./dom";
import type { Settings } from "./settings";

export type Tone = "good" | "bad" | "fill";

const FILLS_EVERY_MS = 1_000;
const FILLS_SAID = 3;
/** Frequencies in Hz, one after another. */
const TONES: Record<Tone, number[]> = { good: [660], bad: [220, 180], fill: [660, 880] };
const TONE_S = 0.09;

/** Says what happened to those who do not look: in regions that screen readers follow, and by sound where chosen. */
export class Announcer {
  readonly root: HTMLElement;
  private readonly polite = el("div");
  private readonly urgent = el("div");
  private sounds: AudioContext | undefined;
  private fills: string[] = [];
  private unsaidFills = 0;

  constructor(private readonly settings: () => Settings) {
    this.polite.setAttribute("role", "status");
    this.urgent.setAttribute("role", "alert");
    this.root = el("div", "announcer visually-hidden", this.polite, this.urgent);
  }

  say(text: string, tone?: Tone): void {
    const region = tone === "bad" ? this.urgent : this.polite;
    // The same text twice is news only where the node changes.
    region.textContent = region.textContent === text ? `${text}\u00a0` : text;
    if (tone) this.play(tone);
  }

  /** Fills come in bursts: what came within a second is one sentence. */
  fill(text: string): void {
    if (!this.fills.length) setTimeout(() => this.sayFills(), FILLS_EVERY_MS);
    if (this.fills.length < FILLS_SAID) this.fills.push(text);
    else this.unsaidFills += 1;
  }

  private sayFills(): void {
    const more = this.unsaidFills ? ` and ${this.unsaidFills} more` : "";
    this.say(`${this.fills.join(", ")}${more}`, "fill");
    this.fills = [];
    this.unsaidFills = 0;
  }

  private play(tone: Tone): void {
    if (!this.settings().sound) return;
    this.sounds ??= new AudioContext();
    void this.sounds.resume();
    const { sounds } = this;
    TONES[tone].forEach((frequency, index) => {
      const [source, volume] = [sounds.createOscillator(), sounds.createGain()];
      const begin = sounds.currentTime + index * TONE_S;
      source.frequency.value = frequency;
      volume.gain.setValueAtTime(0.08, begin);
      volume.gain.exponentialRampToValueAtTime(0.001, begin + TONE_S);
      source.connect(volume).connect(sounds.destination);
      source.start(begin);
      source.stop(begin + TONE_S);
    });
  }
}
