import "@fontsource-variable/inter/wght.css";
import "./style.css";

import { el } from "./dom";
import { Link } from "./link";
import { OrdersApi } from "./orders_api";
import { Painter } from "./painter";
import { type Choice, Store } from "./store";
import { AccountView } from "./views/account";
import { FillsTable, OrdersTable } from "./views/blotter";
import { ChartView } from "./views/chart";
import { Header } from "./views/header";
import { Ladder } from "./views/ladder";
import { Strip } from "./views/strip";
import { Ticket } from "./views/ticket";
import { WatchList } from "./views/watchlist";

const ACCOUNTS_POLL_MS = 5000;

interface Config {
  orders_url: string;
}

async function json<T>(path: string, otherwise: T): Promise<T> {
  try {
    const response = await fetch(path);
    return response.ok ? ((await response.json()) as T) : otherwise;
  } catch {
    return otherwise;
  }
}

/** What a choice listens to. */
function topicsOf({ symbol, account, windowNs }: Choice): string[] {
  const market = symbol ? [`book:${symbol}`, `bar:${symbol}:${windowNs}`] : [];
  return account ? [...market, `account:${account}`, `order:${account}`, `fill:${account}`] : market;
}

/** The choice in the address, so that a reload or a sent link shows the same. */
function fromAddress(): Partial<Choice> {
  const given = new URLSearchParams(location.hash.slice(1));
  const symbol = given.get("symbol");
  const account = given.get("account");
  const windowNs = Number(given.get("window"));
  return { ...(symbol ? { symbol } : {}), ...(account ? { account } : {}), ...(windowNs ? { windowNs } : {}) };
}

function toAddress({ symbol, account, windowNs }: Choice): void {
  const shown = new URLSearchParams({ symbol, account, window: String(windowNs) });
  history.replaceState(null, "", `#${shown.toString()}`);
}

class Desk {
  private readonly link: Link;
  private readonly painter: Painter;
  private readonly store: Store;
  private readonly watch: WatchList;
  private readonly ticket: Ticket;
  private readonly header: Header;

  constructor(root: HTMLElement, config: Config) {
    this.store = new Store((part) => this.painter.touch(part));
    this.link = new Link(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, {
      snapshot: (topic, rows) => this.store.snapshot(topic, rows),
      delta: (delta) => {
        this.store.delta(delta);
        this.painter.expect(delta);
      },
      status: (status) => {
        this.store.status = status;
        this.store.touch("status");
      },
      state: (state) => {
        this.store.link = state;
        this.store.touch("link");
      },
      problem: (reason) => console.warn(`push: ${reason}`),
    });
    this.painter = new Painter(this.link.clock, (samples) => this.link.painted(samples));
    const api = new OrdersApi(config.orders_url.replace(/\/$/, ""), this.link.clock);
    const choose = (symbol: string): void => this.choose({ symbol });
    this.watch = new WatchList(this.store, choose);
    this.ticket = new Ticket(this.store, api);
    this.header = new Header(this.store, this.link, (account) => this.choose({ account }));
    const chart = new ChartView(this.store, (windowNs) => this.choose({ windowNs }));
    const ladder = new Ladder(this.store, (priceE4) => this.ticket.setPrice(priceE4));
    const orders = new OrdersTable(this.store, api, choose);
    const fills = new FillsTable(this.store, choose);
    const account = new AccountView(this.store, choose);
    const strip = new Strip(this.store, this.link);
    const views = [this.header, this.watch, chart, ladder, this.ticket, orders, fills, account, strip];
    root.append(
      this.header.root,
      this.watch.root,
      el("main", "centre", chart.root, el("div", "blotters", orders.root, fills.root)),
      el("aside", "right", ladder.root, this.ticket.root, account.root),
      strip.root,
    );
    for (const view of views) this.painter.add(view);
    document.addEventListener("keydown", (event) => this.key(event));
  }

  start(): void {
    this.link.subscribe(["quote", "health"]);
    this.choose(fromAddress());
    this.link.start();
    setInterval(() => this.second(), 1000);
    void this.findAccounts();
  }

  private choose(choice: Partial<Choice>): void {
    const before = topicsOf(this.store.choice);
    this.store.choose(choice);
    const after = topicsOf(this.store.choice);
    this.link.unsubscribe(before.filter((topic) => !after.includes(topic)));
    this.link.subscribe(after);
    toAddress(this.store.choice);
    document.title = this.store.choice.symbol ? `${this.store.choice.symbol} · Tidemark` : "Tidemark";
  }

  /** What changes with time alone; and a first symbol, the busiest, where none was chosen. */
  private second(): void {
    for (const part of ["link", "health"] as const) this.store.touch(part);
    if (this.store.choice.symbol || !this.store.quotes.size) return;
    const busiest = [...this.store.quotes.values()].reduce((a, b) => (b.volume > a.volume ? b : a));
    this.choose({ symbol: busiest.symbol });
  }

  private async findAccounts(): Promise<void> {
    const { accounts } = await json("/v1/accounts", { accounts: [] as string[] });
    this.header.offer(accounts);
    if (!this.store.choice.account && accounts[0]) this.choose({ account: accounts[0] });
    setTimeout(() => void this.findAccounts(), accounts.length ? 6 * ACCOUNTS_POLL_MS : ACCOUNTS_POLL_MS);
  }

  private key(event: KeyboardEvent): void {
    if (event.key === "Escape") {
      this.watch.clear();
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      return;
    }
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const does: Record<string, () => void> = {
      "/": () => this.watch.search.focus(),
      b: () => this.ticket.setSide("B"),
      s: () => this.ticket.setSide("S"),
      "1": () => this.choose({ windowNs: 1e9 }),
      "2": () => this.choose({ windowNs: 60e9 }),
      arrowdown: () => this.watch.move(1),
      arrowup: () => this.watch.move(-1),
    };
    const action = does[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

const root = document.getElementById("desk");
if (root) new Desk(root, await json<Config>("/config.json", { orders_url: "" })).start();
