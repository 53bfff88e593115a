import { el, Text } from "./dom";

export interface Column<T> {
  title: string;
  className?: string;
  hint?: string;
  /** Fills the cell. `fresh`: the row node showed another row before, so nothing "changed". */
  paint(cell: Text, row: T, fresh: boolean): void;
  /** Makes the column's head a button. */
  onHead?: () => void;
}

export interface TableOptions<T> {
  rowHeight: number;
  columns: Column<T>[];
  keyOf(row: T): string;
  rowClass?(row: T): string;
  onClick?(row: T, column: number): void;
  empty: string;
}

interface RowNode {
  node: HTMLElement;
  cells: Text[];
  key: string;
  index: number;
  className: string;
}

/** A table of any length: only rows in sight have nodes, and only cells whose text differs are written. */
export class Table<T> {
  readonly root = el("div", "table");
  readonly heads: HTMLElement[] = [];
  private rows: readonly T[] = [];
  private readonly scroller = el("div", "table-scroll");
  private readonly spacer = el("div", "table-spacer");
  private readonly emptyNote: HTMLElement;
  private readonly pool: RowNode[] = [];
  private height = 0;
  private top = 0;
  private spacerHeight = -1;

  constructor(private readonly options: TableOptions<T>) {
    const head = el("div", "table-row table-head");
    for (const column of options.columns) {
      const cell = el(column.onHead ? "button" : "span", column.className ?? "", column.title);
      if (column.hint) cell.title = column.hint;
      if (column.onHead) cell.addEventListener("click", column.onHead);
      this.heads.push(cell);
      head.append(cell);
    }
    this.emptyNote = el("div", "table-empty", options.empty);
    this.scroller.append(this.spacer);
    this.scroller.tabIndex = -1;
    this.root.append(head, this.scroller, this.emptyNote);
    this.scroller.addEventListener("scroll", () => {
      this.top = this.scroller.scrollTop;
      this.paint();
    });
    new ResizeObserver(([entry]) => {
      this.height = entry?.contentRect.height ?? 0;
      this.paint();
    }).observe(this.scroller);
    this.spacer.addEventListener("click", (event) => this.clicked(event));
  }

  show(rows: readonly T[]): void {
    this.rows = rows;
    this.paint();
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
    const { rowHeight, keyOf, rowClass, columns } = this.options;
    const total = this.rows.length * rowHeight;
    if (total !== this.spacerHeight) {
      this.spacerHeight = total;
      this.spacer.style.height = `${total}px`;
      this.emptyNote.hidden = this.rows.length > 0;
    }
    const wanted = this.height ? Math.ceil(this.height / rowHeight) + 1 : 0;
    while (this.pool.length < wanted) this.grow();
    if (!this.pool.length) return;
    const first = Math.max(0, Math.floor(Math.min(this.top, total - this.height) / rowHeight));
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
      const fresh = key !== slot.key;
      slot.key = key;
      const className = `table-row ${rowClass?.(row) ?? ""}`;
      if (className !== slot.className) slot.node.className = slot.className = className;
      for (let c = 0; c < columns.length; c++) {
        const cell = slot.cells[c];
        if (cell) columns[c]?.paint(cell, row, fresh);
      }
    }
  }

  private place(slot: RowNode, index: number): void {
    if (slot.index === index) return;
    slot.index = index;
    slot.node.style.transform = index < 0 ? "translateY(-9999px)" : `translateY(${index * this.options.rowHeight}px)`;
  }

  private grow(): void {
    const node = el("div", "table-row");
    const cells = this.options.columns.map((column) => new Text(column.className ?? ""));
    node.append(...cells.map((cell) => cell.node));
    this.spacer.append(node);
    this.pool.push({ node, cells, key: "", index: -2, className: "table-row" });
  }

  private clicked(event: MouseEvent): void {
    const target = event.target as HTMLElement;
    const slot = this.pool.find((one) => one.node.contains(target));
    const row = slot && slot.index >= 0 ? this.rows[slot.index] : undefined;
    if (!slot || row === undefined) return;
    this.options.onClick?.(row, slot.cells.findIndex((cell) => cell.node.contains(target)));
  }
}
