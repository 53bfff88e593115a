/** A new element; `children` are appended, strings as text. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

let ids = 0;

/** An id that no other element of the page has. */
export function freshId(what: string): string {
  ids += 1;
  return `${what}-${ids}`;
}

export function button(className: string, label: string, pressed: () => void): HTMLButtonElement {
  const node = el("button", className, label);
  node.type = "button";
  node.addEventListener("click", pressed);
  return node;
}

/** An element whose text is written only when it differs, so that painting an unchanged screen touches nothing. */
export class Text {
  private shown = "";
  private style = "";
  readonly node: HTMLElement;

  constructor(className = "", tag: "span" | "div" = "span") {
    this.node = el(tag, className);
    this.style = className;
  }

  /** Returns whether the text changed. */
  set(text: string, className = this.style): boolean {
    if (className !== this.style) {
      this.style = className;
      this.node.className = className;
    }
    if (text === this.shown) return false;
    this.shown = text;
    this.node.textContent = text;
    return true;
  }
}

export function panel(title: string, className: string, ...head: (Node | string)[]): { root: HTMLElement; body: HTMLElement } {
  const body = el("div", "panel-body");
  const bar = el("header", "panel-head", el("h2", "", title), ...head);
  return { root: el("section", `panel ${className}`, bar, body), body };
}
