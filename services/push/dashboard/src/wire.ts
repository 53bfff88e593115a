// JSON with every digit of its integers. The services count money and shares in 64 bits; a double holds 53 of them.

import { parse, stringify } from "lossless-json";

import type { ServerMessage } from "./protocol";

/** Views whose rows hold amounts as bigint. Market data stays in doubles: an exchange's sizes and prices have 32 bits. */
const EXACT_VIEWS: ReadonlySet<string> = new Set(["account", "order", "fill", "break"]);
const AMOUNT = /(^|_)(qty|e4)$/;

/** Thrown when a number that was read as a double may have lost digits. */
class DigitsLost extends Error {}

const integer = (digits: string): number | bigint => {
  const value = Number(digits);
  return /^-?\d+$/.test(digits) && !Number.isSafeInteger(value) ? BigInt(digits) : value;
};

/** Any JSON; integers that a double cannot hold are bigint. Slower than the browser's parser: for single answers. */
export function parseExact(text: string): unknown {
  return parse(text, null, { parseNumber: integer });
}

/** JSON text of a value; a bigint is written as the integer it is. */
export function exactJson(value: unknown): string {
  return stringify(value) ?? "null";
}

/**
 * The value with the amounts in it, named `…qty` or `…_e4`, as bigint and every other number as a double, which times in ns
 * fit well enough. Throws where a double has lost digits of an amount.
 */
export function withAmounts(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(withAmounts);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, one]) => [name, AMOUNT.test(name) ? amount(one) : withAmounts(one)]);
  return Object.fromEntries(entries);
}

function amount(value: unknown): unknown {
  if (typeof value !== "number") return value;
  if (!Number.isSafeInteger(value)) throw new DigitsLost();
  return BigInt(value);
}

/**
 * A message of push. The browser's own parser reads it; where an amount turns out not to fit a double the message is read
 * again digit by digit, which is rare, so that a stream of quotes costs what it always did.
 */
export function decode(text: string): ServerMessage {
  const message = JSON.parse(text) as ServerMessage;
  try {
    takeAmounts(message, message);
  } catch (error) {
    if (!(error instanceof DigitsLost)) throw error;
    takeAmounts(message, parseExact(text) as ServerMessage);
  }
  return message;
}

/** Puts the rows of the exact views into the message, from the same message as it was read by either parser. */
function takeAmounts(message: ServerMessage, read: ServerMessage): void {
  if (message.op === "snapshot" && read.op === "snapshot" && isExact(message.topic)) message.rows = exactRows(read.rows);
  if (message.op !== "frame" || read.op !== "frame") return;
  message.deltas.forEach((delta, index) => {
    if (isExact(delta.topic)) delta.rows = exactRows(read.deltas[index]?.rows ?? {});
  });
}

const isExact = (topic: string): boolean => EXACT_VIEWS.has(topic.slice(0, topic.indexOf(":")));

const exactRows = (rows: Record<string, unknown>): Record<string, unknown> => withAmounts(rows) as Record<string, unknown>;
