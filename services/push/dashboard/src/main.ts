import "@fontsource-variable/inter/wght.css";
import "./styles/index.css";

import { AccountCheck } from "./account_check";
import { kindWords } from "./alert_words";
import { Announcer } from "./announcer";
import { button, el } from "./dom";
import { price, whole } from "./format";
import { Identity, type Place, type SignIn } from "./identity";
import { Lease } from "./lease";
import { Link } from "./link";
import { hex, OrdersApi } from "./orders_api";
import { Painter } from "./painter";
import { ProfitFeed } from "./profit_feed";
import type { Alert, Break, Delta, Fill } from "./protocol";
import { StoredSettings } from "./settings";
import { storageOf } from "./storage";
import { type Choice, Store } from "./store";
import { followTheme } from "./theme";
import { AccountView } from "./views/account";
import { Alerts } from "./views/alerts";
import { Breaks } from "./views/breaks";
import { ChartView } from "./views/chart";
import { FillsTable } from "./views/fills_table";
import { Header } from "./views/header";
import { HeatmapView } from "./views/heatmap";
import { openHistory } from "./views/history";
import { Ladder } from "./views/ladder";
import { OrdersTable } from "./views/orders_table";
import { Segments } from "./views/segments";
import { settingsButtons } from "./views/settings_menu";
import { Strip } from "./views/strip";
import { Ticket } from "./views/ticket";
import { WatchList } from "./views/watchlist";
import { WINDOWS } from "./windows";

const ACCOUNTS_POLL_MS = 5000;

interface Config {
  orders_url: string;
  lease_grace_ms?: number;
  sign_in?: SignIn;
}

async function json<T>(path: string, otherwise: T, headers: Record<string, string> = {}): Promise<T> {
  try {
    const response = await fetch(path, { headers });
    return response.ok ? ((await response.json()) as T) : otherwise;
  } catch {
    return otherwise;
  }
}

/** What a choice listens to. */
function topicsOf({ symbol, account, windowNs }: Choice): string[] {
  const market = symbol ? [`book:${symbol}`, `bar:${symbol}:${windowNs}`] : [];
  return account ? [...market, `account:${account}`, `order:${account}`, `fill:${account}`, `break:${account}`] : market;
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
  private readonly accountCheck: AccountCheck;
  private readonly profits: ProfitFeed;
  private readonly announcer: Announcer;
  private readonly api: OrdersApi;
  private readonly lease: Lease;

  constructor(root: HTMLElement, config: Config, private readonly identity: Identity) {
    this.store = new Store((part) => this.painter.touch(part));
    this.link = new Link(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, {
      snapshot: (topic, rows) => {
        this.store.snapshot(topic, rows);
        if (topic.startsWith("account:")) this.seeAccount();
      },
      delta: (delta) => {
        this.store.delta(delta);
        this.hear(delta);
        this.painter.expect(delta);
      },
      status: (status) => {
        this.store.status = status;
        this.store.touch("status");
        this.lease.heard(performance.now());
      },
      state: (state) => {
        this.store.link = state;
        this.store.touch("link");
      },
      problem: (reason) => console.warn(`push: ${reason}`),
      me: (me) => this.header.name(me.subject),
      unauthenticated: () => void identity.again(),
    }, () => identity.token);
    identity.follow(() => this.link.authenticate());
    this.painter = new Painter(this.link.clock, (samples) => this.link.painted(samples));
    const settings = new StoredSettings(storageOf("localStorage"));
    this.announcer = new Announcer(() => settings.now);
    this.api = new OrdersApi(config.orders_url.replace(/\/$/, ""), this.link.clock, identity);
    this.lease = new Lease(this.api, storageOf("sessionStorage"), this.api.available ? (config.lease_grace_ms ?? 0) : 0, () => hex(4));
    this.accountCheck = new AccountCheck(
      (account) => (this.api.available ? this.api.accountExists(account) : Promise.resolve("away")),
      (state) => {
        this.store.accountState = state;
        this.store.touch("account");
        this.store.touch("choice");
      },
    );
    this.profits = new ProfitFeed(
      (account) => (this.api.available ? this.api.profit(account) : Promise.resolve({ kind: "away" })),
      (profit) => {
        if (profit.account_id !== this.store.choice.account) return;
        this.store.profit = profit;
        this.store.touch("account");
      },
    );
    const announce = (text: string, tone: "good" | "bad"): void => this.announcer.say(text, tone);
    const choose = (symbol: string): void => this.choose({ symbol });
    const nowMs = (): number => this.link.clock.ms();
    this.watch = new WatchList(this.store, choose);
    this.ticket = new Ticket(this.store, this.api, settings, announce, this.lease.orderPrefix);
    this.header = new Header(this.store, this.link, (account) => this.choose({ account }));
    const heatmap = new HeatmapView(this.store);
    const chart = new ChartView(this.store, (windowNs) => this.choose({ windowNs }), heatmap);
    const ladder = new Ladder(this.store, (priceE4) => this.ticket.setPrice(priceE4));
    const orders = new OrdersTable(this.store, this.api, choose, (order) => void openHistory(this.api, order), announce, nowMs);
    const fills = new FillsTable(this.store, choose, (orderId) => void this.openOrder(orderId), nowMs);
    const account = new AccountView(this.store, choose, nowMs);
    const breaks = new Breaks(this.store, nowMs);
    const goTo = (alert: Alert): void => {
      if (alert.symbol !== this.store.choice.symbol) choose(alert.symbol);
      chart.goTo(alert.begin_ns, kindWords(alert.kind));
    };
    const alerts = new Alerts(this.store, choose, goTo, nowMs);
    const strip = new Strip(this.store, this.link, this.lease, [alerts.lamp, breaks.lamp]);
    const views = [this.header, this.watch, chart, heatmap, ladder, this.ticket, orders, fills, account, alerts, breaks, strip];
    this.header.root.append(settingsButtons(settings));
    const signOut = (): void => void this.lease.release().then(() => identity.signOut());
    if (identity.isAsked) this.header.root.append(button("plain sign-out", "Sign out", signOut));
    this.watch.root.setAttribute("aria-label", "Watch list");
    const trading = el("aside", "right", ladder.root, this.ticket.root, account.root);
    trading.setAttribute("aria-label", "Trading");
    const centre = el("main", "centre", chart.root, blotters(orders.root, fills.root));
    root.append(this.header.root, this.watch.root, centre, trading, strip.root, this.announcer.root);
    for (const view of views) this.painter.add(view);
    followTheme(settings, () => {
      chart.recolour();
      heatmap.recolour();
    });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  start(): void {
    this.link.subscribe(["quote", "alert", "health"]);
    this.choose(fromAddress());
    this.link.start();
    setInterval(() => this.second(), 1000);
    void this.findAccounts();
  }

  private choose(choice: Partial<Choice>): void {
    const before = topicsOf(this.store.choice);
    this.store.choose(choice);
    this.accountCheck.choose(this.store.choice.account, performance.now());
    this.lease.trades(this.store.choice.account);
    const after = topicsOf(this.store.choice);
    this.link.unsubscribe(before.filter((topic) => !after.includes(topic)));
    this.link.subscribe(after);
    toAddress(this.store.choice);
    document.title = this.store.choice.symbol ? `${this.store.choice.symbol} · Tidemark` : "Tidemark";
  }

  /** What changes with time alone; and a first symbol, the busiest, where none was chosen. */
  private second(): void {
    for (const part of ["link", "health"] as const) this.store.touch(part);
    this.seeAccount();
    void this.accountCheck.tick(performance.now());
    void this.profits.tick(this.store.account, performance.now());
    if (this.store.choice.symbol || !this.store.quotes.size) return;
    const busiest = [...this.store.quotes.values()].reduce((a, b) => (b.volume > a.volume ? b : a));
    this.choose({ symbol: busiest.symbol });
  }

  private seeAccount(): void {
    if (this.store.account) this.accountCheck.seen(this.store.account.account_id);
  }

  /** Says what was just filled or refused to the venue; a snapshot tells of the past and is passed over. */
  private hear(delta: Delta): void {
    if (delta.topic.startsWith("account:")) this.seeAccount();
    if (delta.topic.startsWith("break:")) {
      for (const one of Object.values(delta.rows) as (Break | null)[]) {
        if (one) this.announcer.say(`The venue's report on order ${one.order_id} is refused: ${one.reason.replaceAll("_", " ")}`, "bad");
      }
    }
    if (!delta.topic.startsWith("fill:")) return;
    for (const fill of Object.values(delta.rows) as (Fill | null)[]) {
      if (!fill) continue;
      const side = fill.side === "B" ? "Bought" : "Sold";
      this.announcer.fill(`${side} ${whole(fill.last_qty)} ${fill.symbol} @ ${price(fill.last_price_e4)}`);
    }
  }

  private async openOrder(orderId: string): Promise<void> {
    const order = this.store.orders.get(orderId);
    if (order) return openHistory(this.api, order);
    const found = await this.api.order(orderId);
    if (found.kind === "found") await openHistory(this.api, found.value);
    else this.announcer.say(`Order ${orderId} could not be read`, "bad");
  }

  private async findAccounts(): Promise<void> {
    const { accounts } = await json("/v1/accounts", { accounts: [] as string[] }, this.identity.headers);
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
    if (event.target instanceof HTMLInputElement || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const does: Record<string, () => void> = {
      "/": () => this.watch.search.focus(),
      b: () => this.ticket.setSide("B"),
      s: () => this.ticket.setSide("S"),
      ...Object.fromEntries(WINDOWS.map(({ ns }, at) => [String(at + 1), () => this.choose({ windowNs: ns })])),
      arrowdown: () => this.watch.move(1),
      arrowup: () => this.watch.move(-1),
    };
    const action = does[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

/** Orders and fills: beside each other, or one at a time where the window is narrow. */
function blotters(orders: HTMLElement, fills: HTMLElement): HTMLElement {
  const root = el("div", "blotters");
  const tabs = new Segments("Blotter", [["orders", "Orders"], ["fills", "Fills"]], "blotter-tabs", (shown) => choose(shown));
  const choose = (shown: "orders" | "fills"): void => {
    root.dataset["shown"] = shown;
    tabs.set(shown);
  };
  choose("orders");
  root.append(tabs.root, orders, fills);
  return root;
}

const place: Place = {
  get href() {
    return location.href;
  },
  go: (url) => location.assign(url),
  show: (path) => history.replaceState(null, "", path),
};

const root = document.getElementById("desk");
if (root) {
  const config = await json<Config>("/config.json", { orders_url: "" });
  const identity = new Identity(config.sign_in, storageOf("sessionStorage"), place);
  try {
    if (await identity.begin()) new Desk(root, config, identity).start();
  } catch {
    root.append(el("p", "no-issuer", "Nobody can sign in now: the issuer does not answer. Load the page again later."));
  }
}
