import { price, timeOfDay, whole } from "../format";
import type { View } from "../painter";
import type { Fill } from "../protocol";
import type { Store } from "../store";
import { Blotter } from "./blotter";
import { decimalE4, isoTime, nothing, shortId, sideClass, sideWord } from "./order_words";

/** The account's fills, newest first. */
export class FillsTable implements View {
  readonly parts = ["fills", "choice", "account", "status", "link"] as const;
  private readonly blotter: Blotter<Fill>;

  constructor(
    private readonly store: Store,
    choose: (symbol: string) => void,
    open: (orderId: string) => void,
    private readonly nowMs: () => number,
  ) {
    this.blotter = new Blotter<Fill>({
      title: "Fills",
      name: "Fills",
      rowHeight: 21,
      keyOf: (fill) => fill.execution_id,
      empty: "",
      onClick: (fill) => choose(fill.symbol),
      onOpen: (fill) => open(fill.order_id),
      columns: [
        { title: "Time", className: "dim time", paint: (c, f) => void c.set(timeOfDay(f.venue_ns)), value: (f) => f.venue_ns },
        { title: "Side", paint: (c, f) => void c.set(sideWord(f.side), sideClass(f.side)), value: (f) => f.side },
        { title: "Symbol", className: "symbol", paint: (c, f) => void c.set(f.symbol), value: (f) => f.symbol },
        { title: "Qty", className: "num", paint: (c, f) => void c.set(whole(f.last_qty)), value: (f) => f.last_qty },
        { title: "Price", className: "num", paint: (c, f) => void c.set(price(f.last_price_e4)), value: (f) => f.last_price_e4 },
      ],
      texts: (fill) => [sideWord(fill.side), fill.symbol, shortId(fill.order_id)],
      exported: {
        head: ["execution_id", "order_id", "time", "symbol", "side", "qty", "price", "cum_qty", "leaves_qty"],
        cells: (f) => [
          f.execution_id, f.order_id, isoTime(f.venue_ns), f.symbol, sideWord(f.side), f.last_qty, decimalE4(f.last_price_e4), f.cum_qty, f.leaves_qty,
        ],
      },
      fileName: () => `fills-${store.choice.account}.csv`,
    });
  }

  get root(): HTMLElement {
    return this.blotter.root;
  }

  paint(): void {
    const fills = [...this.store.fills.values()].sort((a, b) => b.venue_ns - a.venue_ns);
    this.blotter.empty = nothing(this.store, "fill", "No fills", this.nowMs());
    this.blotter.show(fills, String(fills.length));
  }
}
