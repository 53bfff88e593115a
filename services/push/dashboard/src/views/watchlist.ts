import { el, panel, type Text } from "../dom";
import { compact, percent, price } from "../format";
import type { View } from "../painter";
import type { Quote } from "../protocol";
import type { Store } from "../store";
import { type Column, Table } from "../table";

type SortKey = "symbol" | "last" | "change" | "volume";
const RESORT_MS = 1000;
const FLASH_MS = 220;
const FLASH_EVERY_MS = 450;

const change = (quote: Quote): number =>
  quote.open_e4 && quote.last_e4 ? (100 * (quote.last_e4 - quote.open_e4)) / quote.open_e4 : 0;

const VALUE: Record<SortKey, (quote: Quote) => number | string> = {
  symbol: (quote) => quote.symbol,
  last: (quote) => quote.last_e4,
  change,
  volume: (quote) => quote.volume,
};

/** Lights cells up for a moment. On and off is two repaints a cell; a fade would be one for every display frame. */
class Flashes {
  private lit: { node: HTMLElement; until: number }[] = [];
  private timer = 0;

  light(node: HTMLElement, up: boolean, now: number): void {
    node.dataset["flash"] = up ? "up" : "down";
    this.lit.push({ node, until: now + FLASH_MS });
    if (!this.timer) this.timer = window.setTimeout(() => this.darken(), FLASH_MS);
  }

  private darken(): void {
    const now = performance.now();
    for (const { node, until } of this.lit) if (until <= now) delete node.dataset["flash"];
    this.lit = this.lit.filter(({ until }) => until > now);
    this.timer = this.lit.length ? window.setTimeout(() => this.darken(), 60) : 0;
  }
}

const flashes = new Flashes();

/** A price cell that flashes in the direction of its change, so often that one still sees where something happens. */
function painter(pick: (quote: Quote) => number, tone: (quote: Quote) => string) {
  const shown = new WeakMap<Text, { value: number; flashed: number }>();
  return (cell: Text, quote: Quote, fresh: boolean): void => {
    const value = pick(quote);
    const before = shown.get(cell) ?? { value: 0, flashed: 0 };
    cell.set(price(value), tone(quote));
    const now = performance.now();
    const moved = !fresh && value !== before.value && before.value > 0 && value > 0;
    const due = moved && now - before.flashed > FLASH_EVERY_MS;
    if (due) flashes.light(cell.node, value > before.value, now);
    shown.set(cell, { value, flashed: due ? now : before.flashed });
  };
}

/** All symbols: sorted, searched, and the way to choose one. */
export class WatchList implements View {
  readonly parts = ["quotes", "choice"] as const;
  readonly root: HTMLElement;
  readonly search = el("input", "search");
  private readonly count = el("span", "count");
  private readonly table: Table<string>;
  private shown: string[] = [];
  private sort: { key: SortKey; down: boolean } = { key: "volume", down: true };
  private sortedAt = 0;
  private sortedSize = -1;
  private filter = "";

  constructor(
    private readonly store: Store,
    private readonly choose: (symbol: string) => void,
  ) {
    const { root, body } = panel("Watch list", "watch", this.count, this.search);
    this.root = root;
    this.search.placeholder = "Symbol  /";
    this.search.spellcheck = false;
    this.search.setAttribute("aria-label", "Search symbols");
    this.search.addEventListener("input", () => {
      this.filter = this.search.value.trim().toUpperCase();
      this.resort(true);
    });
    this.search.addEventListener("keydown", (event) => {
      const first = this.shown[0];
      if (event.key === "Enter" && first) {
        this.choose(first);
        this.search.blur();
      }
    });
    this.table = this.build();
    this.mark();
    body.append(this.table.root);
  }

  clear(): void {
    this.search.value = this.filter = "";
    this.search.blur();
    this.resort(true);
  }

  /** Chooses the symbol `step` rows below the chosen one. */
  move(step: number): void {
    const at = this.shown.indexOf(this.store.choice.symbol);
    const symbol = this.shown[Math.max(0, Math.min(this.shown.length - 1, at + step))];
    if (!symbol) return;
    this.choose(symbol);
    this.table.reveal(this.shown.indexOf(symbol));
  }

  paint(): void {
    const now = performance.now();
    const moving = this.sort.key !== "symbol" && now - this.sortedAt > RESORT_MS;
    if (this.store.quotes.size !== this.sortedSize || moving) this.resort();
    else this.table.paint();
  }

  private resort(anew = false): void {
    this.sortedAt = performance.now();
    this.sortedSize = this.store.quotes.size;
    const value = VALUE[this.sort.key];
    const sign = this.sort.down ? -1 : 1;
    this.shown = [...this.store.quotes.values()]
      .filter((quote) => !this.filter || quote.symbol.includes(this.filter))
      .map((quote) => ({ symbol: quote.symbol, value: value(quote) }))
      .sort((a, b) => (a.value < b.value ? -sign : a.value > b.value ? sign : a.symbol < b.symbol ? -1 : 1))
      .map((one) => one.symbol);
    const total = this.store.quotes.size;
    this.count.textContent = this.filter ? `${this.shown.length} of ${total}` : String(total);
    this.table.show(this.shown, anew);
  }

  private sortBy(key: SortKey): void {
    this.sort = { key, down: this.sort.key === key ? !this.sort.down : key !== "symbol" };
    this.mark();
    this.resort(true);
  }

  private mark(): void {
    const column: Record<SortKey, number> = { symbol: 0, last: 3, change: 4, volume: 5 };
    this.table.heads.forEach((head, index) => {
      const sorted = column[this.sort.key] === index;
      head.dataset["sorted"] = sorted ? (this.sort.down ? "down" : "up") : "";
      if (head.firstElementChild) head.ariaSort = sorted ? (this.sort.down ? "descending" : "ascending") : "none";
    });
  }

  private build(): Table<string> {
    const tone = (quote: Quote): string => (change(quote) < 0 ? "num down" : change(quote) > 0 ? "num up" : "num");
    // Only symbols in sight are looked up, however many there are.
    const of = (paint: (cell: Text, quote: Quote, fresh: boolean) => void) => (cell: Text, symbol: string, fresh: boolean) => {
      const quote = this.store.quotes.get(symbol);
      if (quote) paint(cell, quote, fresh);
    };
    const column = (title: string, paint: (cell: Text, quote: Quote, fresh: boolean) => void, sort?: SortKey): Column<string> => ({
      title,
      className: sort === "symbol" ? "symbol" : "num",
      paint: of(paint),
      ...(sort ? { onHead: () => this.sortBy(sort) } : {}),
    });
    const percentage = (quote: Quote): string => (quote.open_e4 && quote.last_e4 ? percent(change(quote)) : "–");
    return new Table<string>({
      name: "Symbols",
      rowHeight: 22,
      keyOf: (symbol) => symbol,
      rowClass: (symbol) => {
        const state = this.store.quotes.get(symbol)?.trading_state;
        return (symbol === this.store.choice.symbol ? "chosen " : "") + (state && state !== "T" ? "halted" : "");
      },
      onClick: (symbol) => this.choose(symbol),
      onActive: (symbol) => this.choose(symbol),
      empty: "No quotes yet",
      columns: [
        column("Symbol", (cell, quote) => void cell.set(quote.symbol), "symbol"),
        column("Bid", painter((quote) => quote.bid_e4, () => "num dim")),
        column("Ask", painter((quote) => quote.ask_e4, () => "num dim")),
        column("Last", painter((quote) => quote.last_e4, tone), "last"),
        column("Chg %", (cell, quote) => void cell.set(percentage(quote), tone(quote)), "change"),
        column("Vol", (cell, quote) => void cell.set(compact(quote.volume), "num dim"), "volume"),
      ],
    });
  }
}
