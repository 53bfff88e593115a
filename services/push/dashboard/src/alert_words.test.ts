import { expect, it } from "vitest";

import { alertNumbers, comparison, inOrder } from "./alert_words";
import type { Alert } from "./protocol";

const alert = (changes: Partial<Alert>): Alert => ({
  symbol: "AAPL",
  kind: "PRICE_SPIKE",
  severity: "MEDIUM",
  phase: "begin",
  begin_ns: 1,
  peak_ns: 1,
  end_ns: 0,
  peak_ppm: 4_200_000,
  threshold_ppm: 3_000_000,
  numbers: {},
  ...changes,
});

it("says deviations and ratios as numbers, shares in percent", () => {
  expect(comparison(alert({}))).toBe("4.20, above 3.00");
  expect(comparison(alert({ kind: "PRICE_JUMP", peak_ppm: 61_300, threshold_ppm: 50_000 }))).toBe("6.13 %, above 5.00 %");
});

it("says of a pattern how often it has matched", () => {
  const layering = alert({ kind: "LAYERING", peak_ppm: 1_000_000, threshold_ppm: 0 });
  expect(comparison(layering)).toBe("matched once");
  expect(comparison({ ...layering, peak_ppm: 1_200_000_000 })).toBe("matched 1,200 times");
});

it("says each number with its unit", () => {
  const numbers = { price_e4: 1_003_400, volume: 12_000, silence_ns: 21_000_000_000, spread_e4: -200 };
  expect(alertNumbers(alert({ numbers }))).toEqual(["price 100.34", "volume 12,000", "silence 21.0 s", "spread −0.02"]);
});

it("puts first what goes on, by how grave it is, then what is over, the newest first", () => {
  const over = alert({ severity: "CRITICAL", end_ns: 5, begin_ns: 4 });
  const older = alert({ end_ns: 5, begin_ns: 2 });
  const grave = alert({ severity: "HIGH", begin_ns: 1 });
  const light = alert({ severity: "LOW", begin_ns: 3 });
  expect(inOrder([older, over, light, grave])).toEqual([grave, light, over, older]);
});
