import { button, el, panel, Text } from "../dom";
import { price, whole } from "../format";
import type { View } from "../painter";
import { OPEN_STATES } from "../protocol";
import type { Store } from "../store";

const LEVELS = 10;
const NO_LEVEL = "No level";

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

/**
 * Ten levels a side with their depth, our own open quantity beside them; a click takes the price into the ticket. One of
 * them is in the order of the tab key, the arrow keys lead to the others.
 */
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
    body.setAttribute("role", "group");
    body.setAttribute("aria-label", "Price levels");
    body.addEventListener("keydown", (event) => this.keyDown(event));
    const head = el("div", "rung rung-head", el("span", "", "Mine"), el("span", "", "Price"), el("span", "", "Size"), el("span", "", "Total"));
    body.append(head);
    for (let n = 0; n < LEVELS; n++) this.asks.unshift(this.rung(body, "ask"));
    const middle = el("div", "spread", el("span", "", "Spread"), this.spread.node, el("div", "imbalance", this.imbalance));
    middle.title = "The bar shows the bids' share of the ten levels' size";
    body.append(middle);
    for (let n = 0; n < LEVELS; n++) this.bids.push(this.rung(body, "bid"));
    this.reach(this.bids[0]);
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

  private side(rungs: Rung[], levels: [number, number][], most: number, own: Map<bigint, bigint>): number {
    let total = 0;
    rungs.forEach((rung, index) => {
      const level = levels[index];
      if (!level === !!rung.priceE4) rung.node.ariaLabel = level ? null : NO_LEVEL; // its figures are its name
      rung.priceE4 = level?.[0] ?? 0;
      total += level?.[1] ?? 0;
      rung.price.set(level ? price(level[0]) : "");
      rung.size.set(level ? whole(level[1]) : "");
      rung.total.set(level ? whole(total) : "");
      rung.own.set(level ? (own.get(BigInt(level[0]))?.toString() ?? "") : "");
      const width = level ? `scaleX(${(level[1] / most).toFixed(3)})` : "scaleX(0)";
      if (width !== rung.width) rung.bar.style.transform = rung.width = width;
    });
    return total;
  }

  private ownQuantities(): Map<bigint, bigint> {
    const own = new Map<bigint, bigint>();
    for (const order of this.store.orders.values()) {
      if (order.symbol !== this.store.choice.symbol || !order.limit_price_e4 || !OPEN_STATES.has(order.state)) continue;
      own.set(order.limit_price_e4, (own.get(order.limit_price_e4) ?? 0n) + order.leaves_qty);
    }
    return own;
  }

  private rung(body: HTMLElement, side: string): Rung {
    const bar = el("span", "depth");
    let pressedE4 = 0; // what the level was when the pointer went down: a moving book does not change the choice
    const take = (): void => {
      if (pressedE4 || rung.priceE4) this.pick(pressedE4 || rung.priceE4);
      pressedE4 = 0;
    };
    const rung: Rung = {
      node: button(`rung ${side}`, "", take),
      bar,
      own: new Text("own"),
      size: new Text(""),
      price: new Text("level"),
      total: new Text("total"),
      priceE4: 0,
      width: "",
    };
    rung.node.append(bar, rung.own.node, rung.price.node, rung.size.node, rung.total.node);
    rung.node.tabIndex = -1;
    rung.node.ariaLabel = NO_LEVEL;
    rung.node.addEventListener("pointerdown", () => (pressedE4 = rung.priceE4));
    rung.node.addEventListener("focus", () => this.reach(rung));
    body.append(rung.node);
    return rung;
  }

  /** Makes one level the one that the tab key comes to. */
  private reach(rung: Rung | undefined): void {
    for (const one of [...this.asks, ...this.bids]) one.node.tabIndex = one === rung ? 0 : -1;
  }

  private keyDown(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const shown = [...this.asks].reverse().concat(this.bids).filter(({ node }) => node.offsetParent);
    const at = shown.findIndex(({ node }) => node === document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    event.stopPropagation();
    shown[at + step]?.node.focus();
  }
}
