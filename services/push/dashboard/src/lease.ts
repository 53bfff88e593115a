// Cancel on disconnect: while this tab hears push it keeps a lease on the orders that it sent. Once it does not, be it that
// push, the network or the tab is gone or the sign-in has ended, nobody keeps it, and the orders API cancels them.

/** What became of a request to keep a lease; "away": nobody could say, so it is asked again. */
export type Kept = "held" | "refused" | "away";

export interface Keeper {
  keepLease(account: string, leaseId: string, orderPrefix: string, graceMs: number): Promise<Kept>;
  releaseLease(account: string, leaseId: string): Promise<unknown>;
}

interface Tab {
  id: string;
  accounts: string[];
}

const STORAGE_KEY = "tidemark.lease";
const RENEWALS_A_GRACE = 3;

export class Lease {
  private readonly id: string;
  private readonly accounts: Set<string>;
  private readonly askedAt = new Map<string, number>();
  private readonly asking = new Set<string>();

  /** `graceMs` 0: there are no leases, and orders stay whatever happens. The storage is the tab's, so that a reload is no end. */
  constructor(
    private readonly api: Keeper,
    private readonly storage: Pick<Storage, "getItem" | "setItem">,
    private readonly graceMs: number,
    newId: () => string,
  ) {
    const tab = this.restored();
    this.id = tab?.id ?? `web-${newId()}`;
    this.accounts = new Set(tab?.accounts);
  }

  /** The beginning of ids of this tab's orders. */
  get orderPrefix(): string {
    return this.graceMs ? `${this.id}-` : "web-";
  }

  /** Orders may be sent in this account from now on. */
  trades(account: string): void {
    if (!this.graceMs || !account || this.accounts.has(account)) return;
    this.accounts.add(account);
    this.keep();
  }

  /** Push was heard, which says so every second. No timer does this: those of a hidden tab may run once a minute. */
  heard(now: number): void {
    for (const account of this.accounts) {
      const asked = this.askedAt.get(account);
      if (this.asking.has(account) || (asked !== undefined && now - asked < this.graceMs / RENEWALS_A_GRACE)) continue;
      void this.renew(account, now);
    }
  }

  /** In words, whether orders of the account are held now. */
  note(account: string, now: number): string {
    if (!this.graceMs || !this.accounts.has(account)) return "";
    const asked = this.askedAt.get(account);
    const held = asked !== undefined && now - asked < this.graceMs;
    return held ? `orders leave ${this.graceMs / 1000} s after a disconnect` : "orders are not held";
  }

  /** Whoever leaves on purpose leaves his orders. */
  async release(): Promise<void> {
    const accounts = [...this.accounts];
    this.accounts.clear();
    this.keep();
    await Promise.all(accounts.map((account) => this.api.releaseLease(account, this.id)));
  }

  private async renew(account: string, now: number): Promise<void> {
    this.asking.add(account);
    const kept = await this.api.keepLease(account, this.id, this.orderPrefix, this.graceMs);
    this.asking.delete(account);
    if (kept === "held") this.askedAt.set(account, now);
    if (kept === "refused" && this.accounts.delete(account)) this.keep(); // somebody who looks on, and may not trade
  }

  private keep(): void {
    this.storage.setItem(STORAGE_KEY, JSON.stringify({ id: this.id, accounts: [...this.accounts] } satisfies Tab));
  }

  private restored(): Tab | undefined {
    try {
      const tab = JSON.parse(this.storage.getItem(STORAGE_KEY) ?? "null") as Partial<Tab> | null;
      return typeof tab?.id === "string" && Array.isArray(tab.accounts) ? { id: tab.id, accounts: tab.accounts } : undefined;
    } catch {
      return undefined;
    }
  }
}
