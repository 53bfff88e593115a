/** Whether there is an account of the chosen name. "unconfirmed": nobody could say, for the reading side is away. */
export type AccountState = "none" | "checking" | "known" | "unknown" | "unconfirmed";

type Found = "found" | "unknown" | "away";

/** A view says so at once where there is one; where none comes, the orders API is asked. */
const VIEW_GRACE_MS = 400;
const ASK_EVERY_MS = 3_000;

/** Tells a mistyped account from an empty one. */
export class AccountCheck {
  private account = "";
  private state: AccountState = "none";
  private chosenAt = 0;
  private askedAt = -Infinity;
  private asking = false;

  constructor(
    private readonly exists: (account: string) => Promise<Found>,
    private readonly changed: (state: AccountState) => void,
  ) {}

  choose(account: string, now: number): void {
    if (account === this.account) return;
    this.account = account;
    this.chosenAt = now;
    this.askedAt = -Infinity;
    this.asking = false;
    this.set(account ? "checking" : "none");
  }

  /** The account's view has a row: it exists. */
  seen(account: string): void {
    if (account === this.account) this.set("known");
  }

  /** To be called now and then; asks while the account is in doubt. */
  async tick(now: number): Promise<void> {
    const { account } = this;
    if (!account || this.state === "known" || this.asking) return;
    if (now - this.chosenAt < VIEW_GRACE_MS || now - this.askedAt < ASK_EVERY_MS) return;
    this.askedAt = now;
    this.asking = true;
    const found = await this.exists(account);
    // The choice may have changed meanwhile, and the view may have come: both know better than this answer.
    if (account !== this.account) return;
    this.asking = false;
    if (this.current !== "known") this.set(({ found: "known", unknown: "unknown", away: "unconfirmed" } as const)[found]);
  }

  private get current(): AccountState {
    return this.state;
  }

  private set(state: AccountState): void {
    if (state === this.state) return;
    this.state = state;
    this.changed(state);
  }
}
