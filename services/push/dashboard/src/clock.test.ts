import { expect, it } from "vitest";

import { ServerClock } from "./clock";

it("believes the exchange with the shortest round trip", () => {
  const clock = new ServerClock();
  clock.pong(1000, 1100, 5_000_500 * 1e6); // slow on the way back
  expect(clock.ms(2000)).toBeCloseTo(5_001_450, 3);
  clock.pong(2000, 2002, 5_001_001 * 1e6);
  expect(clock.ms(2001)).toBeCloseTo(5_001_001, 3);
  clock.pong(3000, 3500, 5_002_400 * 1e6);
  expect(clock.ms(3001)).toBeCloseTo(5_002_001, 3);
  expect(clock.rttMs).toBe(2);
});
