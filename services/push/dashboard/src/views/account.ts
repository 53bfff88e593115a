import { el, panel, Text } from "../dom";
import { money, price, whole } from "../format";
import type { View } from "../painter";
import type { Account } from "../protocol";
import type { Store } from "../store";
import { Table } from "../table";
import { nothing } from "./order_words";

type Position = Account["positions"][number];

/** Cash, what of it is held for open orders, and the positions at their last price. */
export class AccountView implements View {
  readonly parts = ["account", "choice", "quotes", "status", "link"] as const;
  readonly root: HTMLElement;
  private readonly state = new Text("head-note");
  private readonly cash = new Text("num");
  private readonly reserved = new Text("num");
  private readonly available = new Text("num strong");
  private readonly equity = new Text("num");
  private readonly used = el("div", "meter-fill");
  private readonly table: Table<Position>;

  constructor(
    private readonly store: Store,
    choose: (symbol: string) => void,
    private readonly nowMs: () => number,
  ) {
    const { root, body } = panel("Account", "account", this.state.node);
    this.root = root;
    const line = (label: string, value: Text): HTMLElement => el("div", "line", el("span", "", label), value.node);
    const sums = el("div", "sums", line("Available", this.available), line("Cash", this.cash), line("Reserved", this.reserved), line("Equity", this.equity));
    const meter = el("div", "meter", this.used);
    meter.title = "Share of cash held for open orders";
    this.table = new Table<Position>({
      name: "Positions",
      rowHeight: 21,
      keyOf: (position) => position.symbol,
      empty: "",
      onClick: (position) => choose(position.symbol),
      columns: [
        { title: "Position", className: "symbol", paint: (c, p) => void c.set(p.symbol) },
        { title: "Qty", className: "num", paint: (c, p) => void c.set(whole(p.qty)) },
        { title: "Reserved", className: "num dim", paint: (c, p) => void c.set(p.reserved_qty ? whole(p.reserved_qty) : "–") },
        { title: "Last", className: "num dim", paint: (c, p) => void c.set(price(this.last(p))) },
        { title: "Value", className: "num", paint: (c, p) => void c.set(this.last(p) ? money(this.value(p)) : "–") },
      ],
    });
    body.append(sums, meter, this.table.root);
  }

  paint(): void {
    const account = this.store.account;
    const unknown = this.store.accountState === "unknown";
    const bad = unknown || (account !== undefined && account.status !== "ACTIVE");
    this.state.set(unknown ? "NO SUCH ACCOUNT" : (account?.status ?? ""), bad ? "head-note down" : "head-note");
    this.table.empty = nothing(this.store, "account", "No positions", this.nowMs());
    this.cash.set(account ? money(account.cash_e4) : "–");
    this.reserved.set(account ? money(account.reserved_cash_e4) : "–");
    this.available.set(account ? money(account.cash_e4 - account.reserved_cash_e4) : "–");
    const positions = (account?.positions ?? []).filter((position) => position.qty || position.reserved_qty);
    const value = positions.reduce((sum, position) => sum + this.value(position), 0n);
    this.equity.set(account ? money(account.cash_e4 + value) : "–");
    const share = account && account.cash_e4 > 0n ? Number(account.reserved_cash_e4) / Number(account.cash_e4) : 0;
    this.used.style.transform = `scaleX(${Math.min(1, share).toFixed(3)})`;
    this.table.show([...positions].sort((a, b) => (a.symbol < b.symbol ? -1 : 1)));
  }

  private value(position: Position): bigint {
    return position.qty * BigInt(this.last(position));
  }

  private last(position: Position): number {
    return this.store.quotes.get(position.symbol)?.last_e4 ?? 0;
  }
}
