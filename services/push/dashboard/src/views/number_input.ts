import { el, freshId, Text } from "../dom";
import { parseNumber, type Parsed, rulesOf, typable, usableLocale } from "../number_field";

export interface NumberInputOptions {
  label: string;
  /** What stands in the field before the number; the label, where it is not given. */
  caption?: string;
  /** What the field holds, in a sentence: "price". */
  name: string;
  decimals: number;
  /** Decimals that are written where the others are zero. */
  decimalsShown?: number;
  /** How far the arrow keys step, in the field's unit: alone, and with shift. */
  step?: (value: bigint) => [coarse: bigint, fine: bigint];
  /** An empty field is a value too. */
  optional?: boolean;
}

/** A field for a number. Its value is what `parseNumber` reads in it; why there is none stands beside it. */
export class NumberInput {
  readonly root: HTMLElement;
  readonly refusal = new Text("field-refusal");
  readonly input = el("input", "number");
  private readonly rules;
  private parsed: Parsed | undefined = undefined;

  constructor(
    private readonly options: NumberInputOptions,
    private readonly edited: (byHand: boolean) => void,
  ) {
    this.rules = rulesOf(usableLocale(navigator.languages), options.name, options.decimals);
    const { input, refusal } = this;
    input.inputMode = options.decimals ? "decimal" : "numeric";
    input.autocomplete = "off";
    input.spellcheck = false;
    input.setAttribute("aria-label", options.label);
    refusal.node.id = freshId("refusal");
    input.setAttribute("aria-describedby", refusal.node.id);
    input.addEventListener("input", () => this.read(true));
    input.addEventListener("change", () => this.rewrite());
    input.addEventListener("keydown", (event) => this.keyDown(event));
    this.root = el("label", "field", el("span", "", options.caption ?? options.label), input);
  }

  /** The integer that is in the field; undefined where it is refused, disabled, or empty and may be. */
  get value(): bigint | undefined {
    return this.input.disabled ? undefined : this.parsed?.value;
  }

  /** Whether the field keeps what it belongs to from going on. */
  get refused(): boolean {
    return !this.input.disabled && this.parsed?.refusal !== undefined;
  }

  set(value: bigint | undefined): void {
    const { decimals, decimalsShown = decimals } = this.options;
    this.input.value = value === undefined ? "" : typable(value, decimals, decimalsShown);
    this.read(false);
  }

  set disabled(disabled: boolean) {
    this.input.disabled = disabled;
    this.read(false);
  }

  private read(byHand: boolean): void {
    const empty = this.options.optional && !this.input.value.trim();
    this.parsed = empty ? undefined : parseNumber(this.input.value, this.rules);
    const refusal = this.input.disabled ? "" : (this.parsed?.refusal ?? "");
    this.refusal.set(refusal);
    this.input.setAttribute("aria-invalid", String(refusal !== ""));
    this.root.classList.toggle("refused", refusal !== "");
    this.edited(byHand);
  }

  /** A number that is done is shown as it was understood. */
  private rewrite(): void {
    if (this.parsed?.value !== undefined) this.set(this.parsed.value);
  }

  /** Arrow keys step the number. */
  private keyDown(event: KeyboardEvent): void {
    const direction = { ArrowUp: 1n, ArrowDown: -1n }[event.key];
    if (!direction || !this.options.step) return;
    event.preventDefault();
    event.stopPropagation();
    const value = this.parsed?.value ?? 0n;
    const [coarse, fine] = this.options.step(value);
    const stepped = value + direction * (event.shiftKey ? fine : coarse);
    if (stepped > 0n) this.set(stepped);
  }
}
