import type { ServerClock } from "./clock";
import type { Identity } from "./identity";
import type { Keeper, Kept } from "./lease";
import type { OrderRequest } from "./order_draft";
import type { Order, Profit } from "./protocol";
import { exactJson, parseExact, withAmounts } from "./wire";

/** How a request ended: the gate's verdict, a refusal of the request itself, or no answer (safe to send again). */
export interface Answer {
  kind: "accepted" | "denied" | "refused" | "unanswered";
  title: string;
  compared: Record<string, number | bigint>;
  tookMs: number;
}

/** What a read found; "away" where nobody could say. */
export type Found<T> = { kind: "found"; value: T } | { kind: "unknown" } | { kind: "away" };

const TIMEOUT_MS = 15_000;
const READ_TIMEOUT_MS = 5_000;
const EVENTS_PAGE = 100;

type Body = Record<string, unknown>;

/** The orders API. Every command begins a sampled trace, which ends when the change is painted. */
export class OrdersApi implements Keeper {
  constructor(
    private readonly base: string,
    private readonly clock: ServerClock,
    private readonly identity: Pick<Identity, "headers">,
  ) {}

  get available(): boolean {
    return this.base !== "";
  }

  submit(order: OrderRequest): Promise<Answer> {
    return this.ask("POST", "/v1/orders", order);
  }

  cancel(orderId: string): Promise<Answer> {
    return this.ask("DELETE", orderPath(orderId));
  }

  async order(orderId: string): Promise<Found<Order>> {
    return amounts<Order>(await this.read(orderPath(orderId)));
  }

  async accountExists(account: string): Promise<Found<unknown>["kind"]> {
    return (await this.read(accountPath(account))).kind;
  }

  async profit(account: string): Promise<Found<Profit>> {
    return amounts<Profit>(await this.read(`${accountPath(account)}/profit`));
  }

  /** One page of an order's events, each the whole order after it, oldest first; `next` is where the following page begins. */
  async orderEvents(orderId: string, after: number): Promise<Found<{ items: Order[]; next?: number | null }>> {
    return amounts(await this.read(`${orderPath(orderId)}/events?limit=${EVENTS_PAGE}&after=${after}`));
  }

  async keepLease(account: string, leaseId: string, orderPrefix: string, graceMs: number): Promise<Kept> {
    const status = await this.tell("POST", leasePath(account, leaseId), { order_prefix: orderPrefix, grace_ms: graceMs });
    if (status === 200) return "held";
    return [400, 403, 404].includes(status) ? "refused" : "away";
  }

  async releaseLease(account: string, leaseId: string): Promise<void> {
    await this.tell("DELETE", leasePath(account, leaseId));
  }

  /** The status of the answer; 0 where there is none. */
  private async tell(method: string, path: string, body?: Body): Promise<number> {
    const headers = { ...this.identity.headers, ...(body ? { "Content-Type": "application/json" } : {}) };
    try {
      const response = await fetch(this.base + path, {
        method,
        headers,
        signal: AbortSignal.timeout(READ_TIMEOUT_MS),
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      return response.status;
    } catch {
      return 0;
    }
  }

  private async ask(method: string, path: string, body?: OrderRequest): Promise<Answer> {
    const begun = performance.now();
    const headers: Record<string, string> = {
      ...this.identity.headers,
      "Tidemark-Sent-Ns": String(this.clock.ns(begun)),
      traceparent: traceparent(),
    };
    if (body) headers["Content-Type"] = "application/json";
    try {
      const response = await fetch(this.base + path, {
        method,
        headers,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(body ? { body: exactJson(body) } : {}),
      });
      return verdict(response, await bodyOf(response), performance.now() - begun);
    } catch (error) {
      const title = error instanceof DOMException && error.name === "TimeoutError" ? "No answer in time" : "Orders API unreachable";
      return { kind: "unanswered", title, compared: {}, tookMs: performance.now() - begun };
    }
  }

  private async read(path: string): Promise<Found<unknown>> {
    try {
      const response = await fetch(this.base + path, { headers: this.identity.headers, signal: AbortSignal.timeout(READ_TIMEOUT_MS) });
      if (response.ok) return { kind: "found", value: parseExact(await response.text()) };
      // What the API calls malformed cannot be the id of anything either.
      return { kind: [400, 404, 422].includes(response.status) ? "unknown" : "away" };
    } catch {
      return { kind: "away" };
    }
  }
}

const orderPath = (orderId: string): string => `/v1/orders/${encodeURIComponent(orderId)}`;
const leasePath = (account: string, leaseId: string): string => `${accountPath(account)}/leases/${encodeURIComponent(leaseId)}`;
const accountPath = (account: string): string => `/v1/accounts/${encodeURIComponent(account)}`;

function amounts<T>(found: Found<unknown>): Found<T> {
  return found.kind === "found" ? { kind: "found", value: withAmounts(found.value) as T } : found;
}

async function bodyOf(response: Response): Promise<Body> {
  try {
    return parseExact(await response.text()) as Body;
  } catch {
    return {};
  }
}

function verdict(response: Response, body: Body, tookMs: number): Answer {
  const compared = (body["compared"] ?? {}) as Answer["compared"];
  if (response.ok) return { kind: "accepted", title: response.status === 202 ? "Asked the venue" : "", compared, tookMs };
  const reason = body["reason"] as string | undefined;
  if (reason) {
    const title = body["transient"] === true ? `${reason} (may pass if sent anew)` : reason;
    return { kind: "denied", title, compared, tookMs };
  }
  const title = [body["title"], body["detail"]].filter(Boolean).join(": ") || `HTTP ${response.status}`;
  return { kind: response.status >= 500 ? "unanswered" : "refused", title, compared, tookMs };
}

/** Random, in hexadecimal. */
export function hex(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (one) => one.toString(16).padStart(2, "0")).join("");
}

function traceparent(): string {
  return `00-${hex(16)}-${hex(8)}-01`;
}

/** An id of our own, made before sending: a request that got no answer can be sent again as the same order. */
export function clientOrderId(prefix: string): string {
  return `${prefix}${Date.now().toString(36)}-${hex(6)}`;
}
