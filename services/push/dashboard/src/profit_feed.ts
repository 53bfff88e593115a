import type { Found } from "./orders_api";
import type { Account, Profit } from "./protocol";

const ASK_EVERY_MS = 1_000;

/** Asks for the profit of the account that is shown, again whenever something was booked: one question at a time. */
export class ProfitFeed {
  private known: { account: string; seq: number } | undefined;
  private askedAt = -Infinity;
  private asking = false;

  constructor(
    private readonly ask: (account: string) => Promise<Found<Profit>>,
    private readonly found: (profit: Profit) => void,
  ) {}

  /** To be called now and then with the account's newest row, where there is one. */
  async tick(account: Account | undefined, now: number): Promise<void> {
    if (!account || this.asking || now - this.askedAt < ASK_EVERY_MS) return;
    if (this.known?.account === account.account_id && this.known.seq >= account.seq) return;
    this.askedAt = now;
    this.asking = true;
    const answer = await this.ask(account.account_id);
    this.asking = false;
    if (answer.kind !== "found") return;
    this.known = { account: account.account_id, seq: answer.value.seq };
    this.found(answer.value);
  }
}

/** Profit of what is open at these prices; undefined where something is held that has no price. */
export function unrealisedE4(positions: Profit["positions"], lastE4: (symbol: string) => number): bigint | undefined {
  let sum = 0n;
  for (const { symbol, qty, cost_average_e4 } of positions) {
    if (!qty) continue;
    const last = lastE4(symbol);
    if (!last) return undefined;
    sum += qty * BigInt(last) - cost_average_e4;
  }
  return sum;
}
