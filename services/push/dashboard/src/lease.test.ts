import { expect, it } from "vitest";

import { type Kept, Lease } from "./lease";

class Memory {
  readonly kept = new Map<string, string>();
  getItem = (key: string): string | null => this.kept.get(key) ?? null;
  setItem = (key: string, value: string): void => void this.kept.set(key, value);
}

/** An orders API that keeps what it was asked. */
class Api {
  asked: [string, string, string, number][] = [];
  released: string[] = [];
  answer: Kept = "held";
  keepLease = (...given: [string, string, string, number]): Promise<Kept> => {
    this.asked.push(given);
    return Promise.resolve(this.answer);
  };
  releaseLease = (account: string, leaseId: string): Promise<void> => {
    this.released.push(`${account} ${leaseId}`);
    return Promise.resolve();
  };
}

const answered = (): Promise<void> => new Promise((done) => setTimeout(done, 0));

async function hear(lease: Lease, ...times: number[]): Promise<void> {
  for (const at of times) {
    lease.heard(at);
    await answered();
  }
}

function made(graceMs = 15_000, storage = new Memory()) {
  const api = new Api();
  let made = 0;
  return { api, storage, lease: new Lease(api, storage, graceMs, () => `id${(made += 1)}`) };
}

it("a lease is kept three times in a grace, for as long as push is heard", async () => {
  const { api, lease } = made();
  lease.trades("A1");
  await hear(lease, 0, 1_000, 4_000, 5_000, 6_000, 10_000);
  expect(api.asked).toEqual(Array(3).fill(["A1", "web-id1", "web-id1-", 15_000]));
});

it("an answer that did not come is asked for again at once, one request at a time", async () => {
  const { api, lease } = made();
  lease.trades("A1");
  api.answer = "away";
  lease.heard(0);
  lease.heard(500);
  await answered();
  await hear(lease, 1_000);
  api.answer = "held";
  await hear(lease, 2_000, 3_000);
  expect(api.asked.length).toBe(3);
});

it("who may not trade in an account keeps nothing there", async () => {
  const { api, lease } = made();
  api.answer = "refused";
  lease.trades("A1");
  await hear(lease, 0, 20_000);
  expect(api.asked.length).toBe(1);
});

it("a tab that was loaded again keeps the same lease, whatever account it shows now", async () => {
  const first = made();
  first.lease.trades("A1");
  const again = made(15_000, first.storage);
  again.lease.trades("A2");
  await hear(again.lease, 0);
  expect(again.api.asked.map(([account, id]) => `${account} ${id}`)).toEqual(["A1 web-id1", "A2 web-id1"]);
  first.storage.setItem("tidemark.lease", "{");
  expect(made(15_000, first.storage).lease.orderPrefix).toBe("web-id1-");
});

it("it is said whether orders are held", async () => {
  const { api, lease } = made();
  expect(lease.note("A1", 0)).toBe("");
  lease.trades("A1");
  expect(lease.note("A1", 0)).toBe("orders are not held");
  await hear(lease, 0);
  expect(lease.note("A1", 14_000)).toBe("orders leave 15 s after a disconnect");
  api.answer = "away";
  await hear(lease, 5_000, 10_000);
  expect(lease.note("A1", 15_000)).toBe("orders are not held");
});

it("who signs out leaves the orders and keeps nothing any more", async () => {
  const { api, lease } = made();
  lease.trades("A1");
  await hear(lease, 0);
  await lease.release();
  await hear(lease, 20_000);
  expect([api.asked.length, api.released]).toEqual([1, ["A1 web-id1"]]);
});

it("without a grace there are no leases", async () => {
  const { api, lease } = made(0);
  lease.trades("A1");
  await hear(lease, 0, 20_000);
  expect([api.asked, lease.orderPrefix]).toEqual([[], "web-"]);
});
