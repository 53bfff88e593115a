import { expect, it } from "vitest";

import type { Order } from "../protocol";
import { newestFirst } from "./order_words";

const order = (id: string, times: Partial<Order>): Order => ({ order_id: id, sent_ns: 1, updated_ns: 1, ...times }) as Order;

it("puts the order that was decided last first, and within one time the last of the log", () => {
  const orders = [
    order("old, from a fast clock", { decided_ns: 10, sent_ns: 9e18 }),
    order("new", { decided_ns: 20, intent_offset: 7, sent_ns: 1 }),
    order("new, next in the log", { decided_ns: 20, intent_offset: 8, sent_ns: 0 }),
    order("of an older version", { decided_ns: 0, updated_ns: 15 }),
  ];
  expect(orders.sort(newestFirst).map((one) => one.order_id)).toEqual([
    "new, next in the log",
    "new",
    "of an older version",
    "old, from a fast clock",
  ]);
});
