import { el, Text } from "../dom";
import { clockTime, compact, day, timeOfDay } from "../format";
import type { Link, LinkState } from "../link";
import type { View } from "../painter";
import type { Store } from "../store";

const NAMES: Partial<Record<LinkState, string>> = { connecting: "CONNECTING", offline: "OFFLINE" };

const QUIET_MS = 5000;

/** Connection, feed time, rates and the account: what must be seen before any number is believed. */
export class Header implements View {
  readonly parts = ["link", "status", "quotes", "choice", "health"] as const;
  readonly root = el("header", "top");
  private readonly state = new Text("pill");
  private readonly feed = new Text("reading-value");
  private readonly feedDay = new Text("reading-note");
  private readonly ticks = new Text("reading-value");
  private readonly updates = new Text("reading-value");
  private readonly breadth = new Text("reading-value");
  private readonly halted = new Text("reading-value");
  private readonly account = el("input", "account-choice");
  private readonly accounts = el("datalist");
  private readonly accountNote = new Text("account-note");
  private readonly subject = new Text("subject");
  private readonly banner = el("div", "banner");
  private counted = { at: 0, rows: 0 };
  private readonly feeds = new Map<string, { at: number; ticks: number; rate: number | undefined }>();
  private liveAt = 0; // server ms when the picture was last known to be live

  constructor(
    private readonly store: Store,
    private readonly link: Link,
    chooseAccount: (account: string) => void,
  ) {
    this.accounts.id = "accounts";
    this.account.setAttribute("list", "accounts");
    this.account.setAttribute("aria-label", "Account");
    this.account.placeholder = "Account";
    this.account.spellcheck = false;
    this.account.addEventListener("change", () => chooseAccount(this.account.value.trim()));
    this.account.setAttribute("aria-describedby", "account-note");
    this.accountNote.node.id = "account-note";
    this.account.addEventListener("focus", () => this.account.select());
    this.root.append(
      el("h1", "mark", mark(), "Tidemark"),
      this.state.node,
      reading("Feed", this.feed, this.feedDay),
      reading("Ticks/s", this.ticks),
      reading("Rows/s", this.updates),
      reading("Up / down", this.breadth),
      reading("Halted", this.halted),
      el("div", "gap"),
      el("label", "account-field", el("span", "", "Account"), this.account, this.accounts, this.accountNote.node),
      this.subject.node,
    );
    this.banner.setAttribute("role", "alert");
    this.root.append(this.banner);
  }

  offer(accounts: string[]): void {
    this.accounts.replaceChildren(...accounts.map((account) => Object.assign(el("option"), { value: account })));
  }

  /** Who looks at the screen. */
  name(subject: string): void {
    this.subject.set(subject);
  }

  paint(): void {
    const { link } = this.store;
    const { fresh } = this.link;
    document.documentElement.dataset["link"] = link;
    this.state.set(NAMES[link] ?? fresh.text, `pill ${link}`);
    if (link === "live") this.liveAt = this.link.clock.ms();
    const asOf = (link !== "offline" && fresh.asOfMs) || this.liveAt;
    const since = asOf ? ` — as of ${clockTime(asOf)}` : "";
    const banner = link === "live" || link === "connecting" ? "" : `${NAMES[link] ?? fresh.why}${since}`;
    if (this.banner.textContent !== banner) this.banner.textContent = banner;
    const quiet = this.store.quotedAt ? performance.now() - this.store.quotedAt : 0;
    this.feed.set(timeOfDay(this.store.feedNs), quiet > QUIET_MS ? "reading-value warn" : "reading-value");
    const note = quiet > QUIET_MS ? `quiet for ${Math.round(quiet / 1000)} s` : `${day(this.store.feedNs)} ET`;
    this.feedDay.set(this.store.feedNs ? note : "");
    this.ticks.set(this.ticksPerS());
    this.count();
    const unknown = this.store.accountState === "unknown";
    this.accountNote.set(unknown ? "no such account" : this.store.accountState === "unconfirmed" ? "unconfirmed" : "");
    if (this.account.ariaInvalid !== String(unknown)) this.account.ariaInvalid = String(unknown);
    if (document.activeElement !== this.account && this.account.value !== this.store.choice.account) {
      this.account.value = this.store.choice.account;
    }
  }

  /** From the feed position in ingest's health rows, which come every second. */
  private ticksPerS(): string {
    let sum = 0;
    let known = false;
    for (const { service, worker, detail, at_ns } of this.store.health.values()) {
      const ticks = detail["feed session.next_message"];
      if (service !== "ingest" || typeof ticks !== "number") continue;
      const before = this.feeds.get(worker);
      if (!before || before.at !== at_ns) {
        const seconds = before ? (at_ns - before.at) / 1e9 : 0;
        const rate = before && seconds > 0 ? Math.max(0, (ticks - before.ticks) / seconds) : undefined;
        this.feeds.set(worker, { at: at_ns, ticks, rate });
      }
      const { rate } = this.feeds.get(worker) ?? {};
      if (rate !== undefined) known = true;
      sum += rate ?? 0;
    }
    return known ? compact(Math.round(sum)) : "–";
  }

  /** Once a second is often enough for what is counted over all symbols. */
  private count(): void {
    const now = performance.now();
    const elapsed = (now - this.counted.at) / 1000;
    if (elapsed < 0.95) return;
    this.updates.set(compact(Math.round((this.store.rows - this.counted.rows) / elapsed)));
    this.counted = { at: now, rows: this.store.rows };
    let [up, down, halted] = [0, 0, 0];
    for (const quote of this.store.quotes.values()) {
      if (quote.open_e4 && quote.last_e4 > quote.open_e4) up += 1;
      if (quote.open_e4 && quote.last_e4 < quote.open_e4) down += 1;
      if ("HPQ".includes(quote.trading_state || "-")) halted += 1;
    }
    this.breadth.set(`${up} / ${down}`);
    this.halted.set(String(halted), halted ? "reading-value warn" : "reading-value");
  }
}

function reading(label: string, value: Text, note?: Text): HTMLElement {
  const node = el("div", "reading", el("span", "reading-label", label), value.node);
  if (note) node.append(note.node);
  return node;
}

function mark(): Element {
  const image = el("img");
  image.src = "/favicon.svg";
  image.alt = "";
  image.width = image.height = 18;
  return image;
}
