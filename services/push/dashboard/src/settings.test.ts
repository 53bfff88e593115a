import { expect, it } from "vitest";

import { DEFAULTS, StoredSettings } from "./settings";

function storage(text: string | null = null) {
  return { text, getItem: () => text, setItem: (_: string, given: string) => void (text = given) };
}

it("what was chosen is there the next time, limits that are off included", () => {
  const kept = storage();
  new StoredSettings(kept).change({ theme: "light", sound: true, ask: { qty: 2n ** 53n + 1n, through_e2: undefined } });
  const { theme, sound, ask } = new StoredSettings(kept).now;
  expect({ theme, sound }).toEqual({ theme: "light", sound: true });
  expect(ask).toEqual({ qty: 2n ** 53n + 1n, notional_e4: undefined, through_e2: undefined, away_e2: undefined });
});

it("what cannot be understood counts as not chosen: a limit is never lost by it", () => {
  for (const text of [null, "", "{", "[]", "7", '{"theme":"pink","sound":"yes","ask":{"qty":"many","notional_e4":-1}}']) {
    expect(new StoredSettings(storage(text)).now).toEqual(DEFAULTS);
  }
});

it("tells those who follow, at once and at every change, also where nothing can be stored", () => {
  const seen: boolean[] = [];
  const broken = { getItem: () => null, setItem: () => { throw new Error("full"); } };
  const settings = new StoredSettings(broken);
  settings.follow(({ sound }) => seen.push(sound));
  settings.change({ sound: true });
  expect(seen).toEqual([false, true]);
});
