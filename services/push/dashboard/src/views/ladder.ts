import { el, panel, Text } from "../dom";
import { price, whole } from "../format";
import type { View } from "../painter";
import { OPEN_STATES } from "../protocol";
import type { Store } from "../store";

const LEVELS = 10;

interface Rung {
  node: HTMLElement;
  bar: HTMLElement;
  own: Text;
  size: Text;
  price: Text;
  total: Text;
  priceE4: number;
  width: string;
}

/** Ten levels a side with their depth, our own open quantity beside them; a click takes the price into the ticket. */
export class Ladder implements View {
  readonly parts = ["book", "choice", "orders"] as const;
  readonly root: HTMLElement;
  private readonly asks: Rung[] = [];
  private readonly bids: Rung[] = [];
  private readonly spread = new Text("spread-value");
  private readonly imbalance = el("div", "imbalance-bid");
  private readonly symbol = new Text("head-note");

  constructor(
    private readonly store: Store,
    private readonly pick: (priceE4: number) => void,
  ) {
    const { root, body } = panel("Book", "ladder", this.symbol.node);
    this.root = root;
    const head = el("div", "rung rung-head", el("span", "", "Mine"), el("span", "", "Price"), el("span", "", "Size"), el("span", "", "Total"));
    body.append(head);
    for (let n = 0; n < LEVELS; n++) this.asks.unshift(this.rung(body, "ask"));
    const middle = el("div", "spread", el("span", "", "Spread"), this.spread.node, el("div", "imbalance", this.imbalance));
    middle.title = "The bar shows the bids' share of the ten levels' size";
    body.append(middle);
    for (let n = 0; n < LEVELS; n++) this.bids.push(this.rung(body, "bid"));
  }

  paint(): void {
    const book = this.store.book;
    this.symbol.set(this.store.choice.symbol);
    const own = this.ownQuantities();
    const bids = book?.bids ?? [];
    const asks = book?.asks ?? [];
    const most = Math.max(1, ...bids.map((level) => level[1]), ...asks.map((level) => level[1]));
    const bidTotal = this.side(this.bids, bids, most, own);
    const askTotal = this.side(this.asks, asks, most, own);
    const best = [bids[0]?.[0], asks[0]?.[0]] as const;
    if (best[0] && best[1]) {
      const spread = best[1] - best[0];
      const points = (10_000 * spread) / ((best[0] + best[1]) / 2);
      this.spread.set(`${price(spread) === "–" ? "0.00" : price(spread)}  ·  ${points.toFixed(1)} bp`);
    } else this.spread.set("–");
    const share = bidTotal + askTotal ? (100 * bidTotal) / (bidTotal + askTotal) : 50;
    this.imbalance.style.width = `${share.toFixed(0)}%`;
  }

  private side(rungs: Rung[], levels: [number, number][], most: number, own: Map<number, number>): number {
    let total = 0;
    rungs.forEach((rung, index) => {
      const level = levels[index];
      rung.priceE4 = level?.[0] ?? 0;
      total += level?.[1] ?? 0;
      rung.price.set(level ? price(level[0]) : "");
      rung.size.set(level ? whole(level[1]) : "");
      rung.total.set(level ? whole(total) : "");
      rung.own.set(level ? (own.get(level[0])?.toString() ?? "") : "");
      const width = level ? `scaleX(${(level[1] / most).toFixed(3)})` : "scaleX(0)";
      if (width !== rung.width) rung.bar.style.transform = rung.width = width;
    });
    return total;
  }

  private ownQuantities(): Map<number, number> {
    const own = new Map<number, number>();
    for (const order of this.store.orders.values()) {
      if (order.symbol !== this.store.choice.symbol || !order.limit_price_e4 || !OPEN_STATES.has(order.state)) continue;
      own.set(order.limit_price_e4, (own.get(order.limit_price_e4) ?? 0) + order.leaves_qty);
    }
    return own;
  }

  private rung(body: HTMLElement, side: string): Rung {
    const bar = el("div", "depth");
    const rung: Rung = {
      node: el("div", `rung ${side}`),
      bar,
      own: new Text("own"),
      size: new Text(""),
      price: new Text("level"),
      total: new Text("total"),
      priceE4: 0,
      width: "",
    };
    rung.node.append(bar, rung.own.node, rung.price.node, rung.size.node, rung.total.node);
    rung.node.addEventListener("click", () => {
      if (rung.priceE4) this.pick(rung.priceE4);
    });
    body.append(rung.node);
    return rung;
  }
}
