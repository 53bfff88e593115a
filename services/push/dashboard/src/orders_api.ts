import type { ServerClock } from "./clock";
import type { Side } from "./protocol";

export interface OrderRequest {
  account_id: string;
  client_order_id: string;
  symbol: string;
  side: Side;
  order_type: "LIMIT" | "MARKET";
  time_in_force: "DAY" | "IOC";
  qty: number;
  limit_price_e4?: number;
}

/** How a request ended: the gate's verdict, a refusal of the request itself, or no answer (safe to send again). */
export interface Answer {
  kind: "accepted" | "denied" | "refused" | "unanswered";
  title: string;
  compared: Record<string, number>;
  tookMs: number;
}

const TIMEOUT_MS = 15_000;

/** The orders API. Every request begins a sampled trace, which ends when the change is painted. */
export class OrdersApi {
  constructor(
    private readonly base: string,
    private readonly clock: ServerClock,
  ) {}

  get available(): boolean {
    return this.base !== "";
  }

  submit(order: OrderRequest): Promise<Answer> {
    return this.ask("POST", "/v1/orders", order);
  }

  cancel(orderId: string): Promise<Answer> {
    return this.ask("DELETE", `/v1/orders/${encodeURIComponent(orderId)}`);
  }

  private async ask(method: string, path: string, body?: unknown): Promise<Answer> {
    const begun = performance.now();
    const headers: Record<string, string> = { "Tidemark-Sent-Ns": String(this.clock.ns(begun)), traceparent: traceparent() };
    if (body) headers["Content-Type"] = "application/json";
    try {
      const response = await fetch(this.base + path, {
        method,
        headers,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      return read(response, await response.json().catch(() => ({})), performance.now() - begun);
    } catch (error) {
      const title = error instanceof DOMException && error.name === "TimeoutError" ? "No answer in time" : "Orders API unreachable";
      return { kind: "unanswered", title, compared: {}, tookMs: performance.now() - begun };
    }
  }
}

function read(response: Response, body: Record<string, unknown>, tookMs: number): Answer {
  const compared = (body["compared"] ?? {}) as Record<string, number>;
  if (response.ok) return { kind: "accepted", title: response.status === 202 ? "Asked the venue" : "", compared, tookMs };
  const reason = body["reason"] as string | undefined;
  if (reason) return { kind: "denied", title: reason, compared, tookMs };
  const title = [body["title"], body["detail"]].filter(Boolean).join(": ") || `HTTP ${response.status}`;
  return { kind: response.status >= 500 ? "unanswered" : "refused", title, compared, tookMs };
}

function hex(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (one) => one.toString(16).padStart(2, "0")).join("");
}

function traceparent(): string {
  return `00-${hex(16)}-${hex(8)}-01`;
}

/** An id of our own, made before sending: a request that got no answer can be sent again as the same order. */
export function clientOrderId(): string {
  return `web-${Date.now().toString(36)}-${hex(3)}`;
}
