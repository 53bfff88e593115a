// What a person chose for this browser: kept in its storage, told to whoever shows it.

import type { Limits } from "./order_draft";

export type Theme = "system" | "dark" | "light";

export interface Settings {
  theme: Theme;
  sound: boolean;
  /** When the ticket asks before it sends. A limit that is undefined never asks. */
  ask: Limits;
}

/** A hand-typed order of every day passes; one zero too many does not. */
export const DEFAULTS: Settings = {
  theme: "system",
  sound: false,
  ask: { qty: 10_000n, notional_e4: 20_000_000_000n, through_e2: 300n, away_e2: undefined },
};

const STORAGE_KEY = "tidemark.settings";
const LIMITS = ["qty", "notional_e4", "through_e2", "away_e2"] as const;
const THEMES: readonly Theme[] = ["system", "dark", "light"];

export class StoredSettings {
  private value: Settings;
  private readonly listeners: ((settings: Settings) => void)[] = [];

  constructor(private readonly storage: Pick<Storage, "getItem" | "setItem">) {
    this.value = this.load();
  }

  get now(): Settings {
    return this.value;
  }

  change(change: Partial<Settings>): void {
    this.value = { ...this.value, ...change };
    try {
      this.storage.setItem(STORAGE_KEY, JSON.stringify({ ...this.value, ask: written(this.value.ask) }));
    } catch {
      // Without storage the choice holds until the page is left.
    }
    for (const listener of this.listeners) listener(this.value);
  }

  /** Calls the listener now and after every change. */
  follow(listener: (settings: Settings) => void): void {
    this.listeners.push(listener);
    listener(this.value);
  }

  /** What was stored, as far as it can be understood; the rest as for somebody new. */
  private load(): Settings {
    try {
      const stored = JSON.parse(this.storage.getItem(STORAGE_KEY) ?? "{}") as Record<string, unknown>;
      const theme = THEMES.find((one) => one === stored["theme"]) ?? DEFAULTS.theme;
      return { theme, sound: stored["sound"] === true, ask: read(stored["ask"]) };
    } catch {
      return DEFAULTS;
    }
  }
}

function written(limits: Limits): Record<string, string | null> {
  return Object.fromEntries(LIMITS.map((name) => [name, limits[name]?.toString() ?? null]));
}

function read(stored: unknown): Limits {
  if (typeof stored !== "object" || stored === null) return DEFAULTS.ask;
  const given = stored as Record<string, unknown>;
  const limit = (name: (typeof LIMITS)[number]): bigint | undefined => {
    const text = given[name];
    if (text === null) return undefined;
    return typeof text === "string" && /^\d{1,19}$/.test(text) ? BigInt(text) : DEFAULTS.ask[name];
  };
  return Object.fromEntries(LIMITS.map((name) => [name, limit(name)]));
}
