import { el, freshId, Text } from "./dom";
import { steady } from "./steady";

export interface Column<T> {
  title: string;
  /** What the column is called where its head shows nothing. */
  label?: string;
  className?: string;
  hint?: string;
  /** Fills the cell. `fresh`: the row node showed another row before, so nothing "changed". */
  paint(cell: Text, row: T, fresh: boolean): void;
  /** Makes the column's head a button. */
  onHead?: () => void;
  /** What a click on the cell, or Enter while it is the active one, does instead of `onClick`. */
  act?(row: T): void;
}

export interface TableOptions<T> {
  /** What the table is called for those who do not see it. */
  name: string;
  rowHeight: number;
  columns: Column<T>[];
  keyOf(row: T): string;
  rowClass?(row: T): string;
  onClick?(row: T): void;
  /** A double click, or Enter. */
  onOpen?(row: T): void;
  onDelete?(row: T): void;
  /** The arrow keys came to a row. */
  onActive?(row: T): void;
  empty: string;
}

interface RowNode {
  node: HTMLElement;
  cells: Text[];
  key: string;
  index: number;
  className: string;
}

/** How long a pointer that rests on the table holds its rows in place. */
const HOLD_MS = 3_000;
/** A press older than this when its click comes belongs to something else. */
const PRESS_MS = 5_000;

/**
 * A table of any length: only rows in sight have nodes, and only cells whose text differs are written.
 *
 * What is done to a row is done to the row that was there when the pointer went down or the key was pressed, by its key and
 * never by its place; and while a pointer is on the table no row changes its place.
 */
export class Table<T> {
  readonly root = el("div", "table");
  readonly heads: HTMLElement[] = [];
  private given: readonly T[] = [];
  private rows: readonly T[] = [];
  private readonly scroller = el("div", "table-scroll");
  private readonly spacer = el("div", "table-spacer");
  private readonly emptyNote: HTMLElement;
  private readonly pool: RowNode[] = [];
  private height = 0;
  private top = 0;
  private spacerHeight = -1;
  private pressed: { key: string; column: number; at: number } | undefined;
  private active: { key: string; column: number } | undefined;
  private shownActive = ""; // the id of the cell that is marked
  private holding = 0; // the timer that ends the hold

  constructor(private readonly options: TableOptions<T>) {
    const head = this.head();
    this.emptyNote = el("div", "table-empty", options.empty);
    this.spacer.setAttribute("role", "presentation");
    this.scroller.append(this.spacer);
    this.scroller.tabIndex = 0;
    this.scroller.setAttribute("role", "grid");
    this.scroller.setAttribute("aria-label", options.name);
    this.scroller.setAttribute("aria-owns", head.id);
    this.root.append(head, this.scroller, this.emptyNote);
    this.scroller.addEventListener("scroll", () => {
      this.top = this.scroller.scrollTop;
      this.paint();
    });
    new ResizeObserver(([entry]) => {
      this.height = entry?.contentRect.height ?? 0;
      this.paint();
    }).observe(this.scroller);
    this.listen();
  }

  set empty(text: string) {
    if (this.emptyNote.textContent !== text) this.emptyNote.textContent = text;
  }

  /** The rows to show. `anew`: a person asked for this order, so it holds at once, whatever a pointer rests on. */
  show(rows: readonly T[], anew = false): void {
    this.given = rows;
    this.arrange(anew);
  }

  /** Brings a row into sight. */
  reveal(index: number): void {
    const at = index * this.options.rowHeight;
    if (at < this.top) this.scroller.scrollTop = at;
    else if (at + this.options.rowHeight > this.top + this.height) {
      this.scroller.scrollTop = at + this.options.rowHeight - this.height;
    }
  }

  paint(): void {
    const { rowHeight, keyOf } = this.options;
    const total = this.rows.length * rowHeight;
    if (total !== this.spacerHeight) {
      this.spacerHeight = total;
      this.spacer.style.height = `${total}px`;
      this.emptyNote.hidden = this.rows.length > 0;
      this.scroller.setAttribute("aria-rowcount", String(this.rows.length + 1));
    }
    const wanted = this.height ? Math.ceil(this.height / rowHeight) + 1 : 0;
    while (this.pool.length < wanted) this.grow();
    if (!this.pool.length) return;
    const first = Math.max(0, Math.floor(Math.min(this.top, total - this.height) / rowHeight));
    let activeId = "";
    for (let n = 0; n < this.pool.length; n++) {
      const index = first + n;
      const slot = this.pool[index % this.pool.length];
      const row = this.rows[index];
      if (!slot) continue;
      if (row === undefined) {
        this.place(slot, -1);
        continue;
      }
      this.place(slot, index);
      const key = keyOf(row);
      this.fill(slot, row, key);
      if (key === this.active?.key) activeId = slot.cells[this.active.column]?.node.id ?? "";
    }
    this.markActive(activeId);
  }

  private arrange(anew = false): void {
    const { keyOf } = this.options;
    this.rows = this.holding && !anew ? steady(this.given, this.rows.map(keyOf), keyOf) : this.given;
    this.paint();
  }

  private fill(slot: RowNode, row: T, key: string): void {
    const { rowClass, columns } = this.options;
    const fresh = key !== slot.key;
    slot.key = key;
    const className = `table-row ${rowClass?.(row) ?? ""}${key === this.active?.key ? " active-row" : ""}`;
    if (className !== slot.className) slot.node.className = slot.className = className;
    for (let c = 0; c < columns.length; c++) {
      const cell = slot.cells[c];
      if (cell) columns[c]?.paint(cell, row, fresh);
    }
  }

  private place(slot: RowNode, index: number): void {
    if (slot.index === index) return;
    slot.index = index;
    slot.node.hidden = index < 0;
    if (index < 0) return;
    slot.node.style.transform = `translateY(${index * this.options.rowHeight}px)`;
    slot.node.setAttribute("aria-rowindex", String(index + 2));
  }

  private head(): HTMLElement {
    const head = el("div", "table-row table-head");
    head.id = freshId("head");
    head.setAttribute("role", "row");
    for (const column of this.options.columns) {
      const cell = el("span", column.className ?? "");
      cell.setAttribute("role", "columnheader");
      if (column.hint) cell.title = column.hint;
      if (column.onHead) {
        const sort = el("button", "", column.title);
        sort.type = "button";
        sort.addEventListener("click", column.onHead);
        cell.append(sort);
      } else if (column.label) cell.append(el("span", "visually-hidden", column.label));
      else cell.textContent = column.title;
      this.heads.push(cell);
      head.append(cell);
    }
    return head;
  }

  private grow(): void {
    const node = el("div", "table-row");
    node.setAttribute("role", "row");
    const cells = this.options.columns.map((column) => new Text(column.className ?? ""));
    for (const { node: cell } of cells) {
      cell.setAttribute("role", "gridcell");
      cell.id = freshId("cell");
    }
    node.append(...cells.map((cell) => cell.node));
    this.spacer.append(node);
    this.pool.push({ node, cells, key: "", index: -2, className: "table-row" });
  }

  private listen(): void {
    const { scroller, spacer } = this;
    scroller.addEventListener("pointermove", () => this.hold());
    scroller.addEventListener("pointerleave", () => this.release());
    spacer.addEventListener("pointerdown", (event) => {
      this.hold();
      this.pressed = this.at(event.target);
    });
    spacer.addEventListener("click", (event) => this.clicked(event));
    spacer.addEventListener("dblclick", (event) => {
      const at = this.at(event.target);
      const row = at && this.rowOf(at.key);
      if (at && row !== undefined && !this.options.columns[at.column]?.act) this.options.onOpen?.(row);
    });
    scroller.addEventListener("keydown", (event) => this.keyDown(event));
  }

  private hold(): void {
    clearTimeout(this.holding);
    this.holding = window.setTimeout(() => this.release(), HOLD_MS);
  }

  private release(): void {
    clearTimeout(this.holding);
    if (!this.holding) return;
    this.holding = 0;
    this.arrange();
  }

  private at(target: EventTarget | null): { key: string; column: number; at: number } | undefined {
    const slot = this.pool.find((one) => one.index >= 0 && one.node.contains(target as Node));
    if (!slot) return undefined;
    return { key: slot.key, column: slot.cells.findIndex((cell) => cell.node.contains(target as Node)), at: performance.now() };
  }

  private rowOf(key: string): T | undefined {
    return this.rows.find((row) => this.options.keyOf(row) === key);
  }

  private clicked(event: MouseEvent): void {
    const { pressed } = this;
    this.pressed = undefined;
    // A click by assistive technology has no press before it.
    const chosen = pressed && performance.now() - pressed.at < PRESS_MS ? pressed : pressed ? undefined : this.at(event.target);
    if (chosen) this.act(chosen.key, chosen.column, "click");
  }

  private act(key: string, column: number, by: "click" | "enter"): void {
    const row = this.rowOf(key);
    if (row === undefined) return;
    this.active = { key, column: Math.max(0, column) };
    const act = this.options.columns[column]?.act;
    if (act) act(row);
    else if (by === "enter" && this.options.onOpen) this.options.onOpen(row);
    else this.options.onClick?.(row);
    this.paint();
  }

  private keyDown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.height / this.options.rowHeight) - 1);
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.rows.length, End: this.rows.length };
    const step = steps[event.key];
    const sideways = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const { active } = this;
    if (step !== undefined) this.moveBy(step);
    else if (sideways && active) this.moveAside(active, sideways);
    else if (event.key === "Enter" && active) {
      if (!event.repeat) this.act(active.key, active.column, "enter");
    } else if (event.key === "Delete" && active && this.options.onDelete) {
      const row = this.rowOf(active.key);
      if (row !== undefined && !event.repeat) this.options.onDelete(row);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private moveBy(step: number): void {
    const at = this.rows.findIndex((row) => this.options.keyOf(row) === this.active?.key);
    const index = Math.max(0, Math.min(this.rows.length - 1, at < 0 ? 0 : at + step));
    const row = this.rows[index];
    if (row === undefined) return;
    this.active = { key: this.options.keyOf(row), column: this.active?.column ?? 0 };
    this.reveal(index);
    this.options.onActive?.(row);
    this.paint();
  }

  private moveAside(active: { key: string; column: number }, step: number): void {
    const column = Math.max(0, Math.min(this.options.columns.length - 1, active.column + step));
    this.active = { key: active.key, column };
    this.paint();
  }

  private markActive(id: string): void {
    if (id === this.shownActive) return;
    document.getElementById(this.shownActive)?.removeAttribute("data-active");
    document.getElementById(id)?.setAttribute("data-active", "");
    this.shownActive = id;
    this.scroller.setAttribute("aria-activedescendant", id);
  }
}
