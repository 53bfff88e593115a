import { el, panel, Text } from "../dom";
import { money, roundMoney, whole } from "../format";
import type { View } from "../painter";
import { unrealisedE4 } from "../profit_feed";
import type { Account, Profit } from "../protocol";
import type { Store } from "../store";
import { Table } from "../table";
import { nothing } from "./order_words";

type Position = Account["positions"][number];

/** Cash, what of it is held for open orders, and the positions at their last price; what they and the account have made. */
export class AccountView implements View {
  readonly parts = ["account", "choice", "quotes", "status", "link"] as const;
  readonly root: HTMLElement;
  private readonly state = new Text("head-note");
  private readonly cash = new Text("num");
  private readonly reserved = new Text("num");
  private readonly available = new Text("num strong");
  private readonly equity = new Text("num");
  private readonly realised = new Text("num");
  private readonly unrealised = new Text("num");
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
    const sums = el("div", "sums", line("Available", this.available), line("Cash", this.cash), line("Reserved", this.reserved), line("Equity", this.equity), line("Realised", this.realised), line("Unrealised", this.unrealised));
    sums.title = "Realised and unrealised profit at average cost; shares from outside have cost nothing";
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
        { title: "Value", className: "num", paint: (c, p) => void c.set(this.last(p.symbol) ? money(this.value(p)) : "–") },
        { title: "Profit", className: "num", paint: (c, p) => void gain(c, this.profitOf(p.symbol)) },
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
    const { profit } = this.store;
    gain(this.realised, profit?.realised_average_e4);
    gain(this.unrealised, profit && unrealisedE4(profit.positions, (symbol) => this.last(symbol)));
    const share = account && account.cash_e4 > 0n ? Number(account.reserved_cash_e4) / Number(account.cash_e4) : 0;
    this.used.style.transform = `scaleX(${Math.min(1, share).toFixed(3)})`;
    this.table.show([...positions].sort((a, b) => (a.symbol < b.symbol ? -1 : 1)));
  }

  private value(position: Position): bigint {
    return position.qty * BigInt(this.last(position.symbol));
  }

  private last(symbol: string): number {
    return this.store.quotes.get(symbol)?.last_e4 ?? 0;
  }

  private profitOf(symbol: string): bigint | undefined {
    const held: Profit["positions"] = this.store.profit?.positions.filter((position) => position.symbol === symbol) ?? [];
    return held.length ? unrealisedE4(held, (one) => this.last(one)) : undefined;
  }
}

function gain(text: Text, e4: bigint | undefined): void {
  if (e4 === undefined) text.set("–", "num");
  else text.set(`${e4 > 0n ? "+" : ""}${roundMoney(e4)}`, `num${e4 > 0n ? " up" : e4 < 0n ? " down" : ""}`);
}
