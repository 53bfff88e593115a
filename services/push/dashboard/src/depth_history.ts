// The levels of a book as they were over the last minutes, in columns of a quarter of a second, for the heatmap.

import type { Book } from "./protocol";

export const COLUMN_NS = 250_000_000;
export const COLUMNS_MAX = 480;
const ROWS_MAX = 120;

export interface Column {
  ns: number; // its begin, of the exchange's clock
  levels: { priceE4: number; size: number; isBid: boolean }[];
}

export interface Scale {
  low: number; // price_e4 of the lowest row, and of the one above the highest
  high: number;
  step: number; // price_e4 of a row
  most: number; // the greatest size of a level
}

/** The newest book of each column; a column without a change is the one before it again, as it stood. */
export class DepthHistory {
  readonly columns: Column[] = [];

  constructor(private readonly columnsMax = COLUMNS_MAX) {}

  clear(): void {
    this.columns.length = 0;
  }

  add(book: Book): void {
    const ns = Math.floor(book.event_ns / COLUMN_NS) * COLUMN_NS;
    const newest = this.columns.at(-1);
    if (newest && ns < newest.ns) this.clear(); // another session
    if (newest?.ns === ns) this.columns.pop();
    else if (newest) this.stand(newest, ns);
    this.columns.push({ ns, levels: levelsOf(book) });
    this.columns.splice(0, this.columns.length - this.columnsMax);
  }

  private stand(newest: Column, until: number): void {
    const begin = Math.max(newest.ns + COLUMN_NS, until - this.columnsMax * COLUMN_NS);
    for (let ns = begin; ns < until && this.columns.length; ns += COLUMN_NS) this.columns.push({ ns, levels: newest.levels });
  }

  /** Rows and sizes that hold every level; undefined where there is none. */
  scale(): Scale | undefined {
    const prices = new Set<number>();
    let most = 0;
    for (const { levels } of this.columns) {
      for (const { priceE4, size } of levels) {
        prices.add(priceE4);
        most = Math.max(most, size);
      }
    }
    const sorted = [...prices].sort((a, b) => a - b);
    const [low, top] = [sorted[0], sorted.at(-1)];
    if (low === undefined || top === undefined) return undefined;
    const gaps = sorted.slice(1).map((price, at) => price - (sorted[at] ?? price));
    let step = Math.min(...gaps, top - low || 100);
    while ((top - low) / step >= ROWS_MAX) step *= 2;
    return { low, high: low + (Math.floor((top - low) / step) + 1) * step, step, most };
  }
}

function levelsOf({ bids, asks }: Book): Column["levels"] {
  const side = (levels: Book["bids"], isBid: boolean) => levels.map(([priceE4, size]) => ({ priceE4, size, isBid }));
  return [...side(bids, true), ...side(asks, false)];
}
