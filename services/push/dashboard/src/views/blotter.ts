import { csv, download } from "../csv";
import { button, el, panel, Text } from "../dom";
import { matches, pressedHead, sorted, type Sorting, type Value } from "../listing";
import { type Column, Table, type TableOptions } from "../table";

/** A column that can also be sorted by and exported. */
export interface BlotterColumn<T> extends Omit<Column<T>, "onHead"> {
  value?: (row: T) => Value;
}

export interface BlotterOptions<T> extends Omit<TableOptions<T>, "columns" | "empty"> {
  title: string;
  columns: BlotterColumn<T>[];
  empty: string;
  /** What the filter looks through. */
  texts(row: T): string[];
  /** Heads and cells of the exported file. */
  exported: { head: string[]; cells(row: T): Value[] };
  /** Distinguishes the exported file: the account. */
  fileName(): string;
}

/** A table of what happened: sorted by a press on a head, filtered by words, exported as shown. */
export class Blotter<T> {
  readonly root: HTMLElement;
  private readonly count = new Text("count");
  private readonly filter = el("input", "filter");
  private readonly table: Table<T>;
  private sorting: Sorting | undefined;
  private all: readonly T[] = [];
  private shown: readonly T[] = [];

  constructor(private readonly options: BlotterOptions<T>) {
    const { filter } = this;
    filter.placeholder = "Filter";
    filter.spellcheck = false;
    filter.setAttribute("aria-label", `Filter ${options.title.toLowerCase()}`);
    filter.addEventListener("input", () => this.arrange(true));
    const save = button("plain export", "CSV", () => this.save());
    save.title = `Save these ${options.title.toLowerCase()} as a file`;
    const { root, body } = panel(options.title, options.name.toLowerCase(), this.count.node, el("div", "head-tools", filter, save));
    this.root = root;
    const columns = options.columns.map((column) => this.column(column));
    this.table = new Table<T>({ ...options, columns });
    body.append(this.table.root);
  }

  /** All rows, in the blotter's own order, and what its head says of them. */
  show(rows: readonly T[], count: string): void {
    this.all = rows;
    this.count.set(count);
    this.arrange(false);
  }

  set empty(text: string) {
    this.options.empty = text;
  }

  private column(column: BlotterColumn<T>): Column<T> {
    return column.value ? { ...column, onHead: () => this.sort(column.title) } : column;
  }

  private sort(title: string): void {
    this.sorting = pressedHead(this.sorting, title);
    this.options.columns.forEach((column, index) => {
      const head = this.table.heads[index];
      const down = column.title === this.sorting?.column ? this.sorting.down : undefined;
      if (!head || !column.value) return;
      head.dataset["sorted"] = down === undefined ? "" : down ? "down" : "up";
      head.ariaSort = down === undefined ? "none" : down ? "descending" : "ascending";
    });
    this.arrange(true);
  }

  private arrange(anew: boolean): void {
    const words = this.filter.value.trim();
    const { texts, columns, empty } = this.options;
    let rows = words ? this.all.filter((row) => matches(words, texts(row))) : this.all;
    const value = columns.find(({ title }) => title === this.sorting?.column)?.value;
    if (value && this.sorting) rows = sorted(rows, value, this.sorting.down);
    this.shown = rows;
    this.table.empty = words && this.all.length ? "Nothing matches the filter" : empty;
    this.table.show(rows, anew);
  }

  private save(): void {
    const { exported, fileName } = this.options;
    download(fileName(), csv(exported.head, this.shown.map((row) => exported.cells(row))));
  }
}
