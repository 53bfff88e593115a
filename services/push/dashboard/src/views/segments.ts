import { button, el } from "../dom";

/** A few choices of which one holds. */
export class Segments<T extends string> {
  readonly root: HTMLElement;
  private readonly buttons = new Map<T, HTMLButtonElement>();

  constructor(label: string, choices: [T, string][], className: string, chosen: (value: T) => void) {
    this.root = el("div", `segments ${className}`);
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", label);
    for (const [value, text] of choices) {
      const node = button("", text, () => chosen(value));
      node.dataset["value"] = value;
      this.buttons.set(value, node);
      this.root.append(node);
    }
  }

  set(value: T): void {
    for (const [one, node] of this.buttons) {
      node.classList.toggle("on", one === value);
      node.setAttribute("aria-pressed", String(one === value));
    }
  }
}
