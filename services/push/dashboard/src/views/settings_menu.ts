import { button, el } from "../dom";
import type { Limits } from "../order_draft";
import type { StoredSettings, Theme } from "../settings";
import { themeInForce } from "../theme";
import { openDialog } from "./dialog";
import { NumberInput } from "./number_input";
import { Segments } from "./segments";

const ASKS: { limit: keyof Limits; label: string; name: string; decimals: number; shown: number; unit: string }[] = [
  { limit: "qty", label: "Shares above", name: "number", decimals: 0, shown: 0, unit: "shares" },
  { limit: "notional_e4", label: "Amount above", name: "number", decimals: 4, shown: 2, unit: "currency" },
  { limit: "through_e2", label: "Through the quote by", name: "number", decimals: 2, shown: 2, unit: "% above the ask, below the bid" },
  { limit: "away_e2", label: "Away from the quote by", name: "number", decimals: 2, shown: 2, unit: "% below the bid, above the ask" },
];

/** Two buttons for the header: the theme by one press, and all settings in a dialog. */
export function settingsButtons(settings: StoredSettings): HTMLElement {
  const theme = button("plain theme", "", () => settings.change({ theme: themeInForce(settings.now.theme) === "dark" ? "light" : "dark" }));
  settings.follow(({ theme: chosen }) => {
    const other = themeInForce(chosen) === "dark" ? "Light" : "Dark";
    theme.textContent = other;
    theme.title = `${other} theme`;
    theme.setAttribute("aria-label", `${other} theme`);
  });
  return el("div", "header-buttons", theme, button("plain settings-open", "Settings", () => openSettings(settings)));
}

function openSettings(settings: StoredSettings): void {
  const themes = new Segments<Theme>("Theme", [["system", "System"], ["dark", "Dark"], ["light", "Light"]], "", (theme) => {
    settings.change({ theme });
    themes.set(theme);
  });
  themes.set(settings.now.theme);
  const sound = el("input");
  sound.type = "checkbox";
  sound.checked = settings.now.sound;
  sound.addEventListener("change", () => settings.change({ sound: sound.checked }));
  const rows = ASKS.map((ask) => askRow(settings, ask));
  const dialog = openDialog("Settings", "settings", [
    el("div", "settings-row", el("span", "", "Theme"), themes.root),
    el("label", "settings-row", el("span", "", "Sound for verdicts and fills"), sound),
    el("h3", "", "Ask before an order is sent"),
    ...rows,
    el("p", "note", "An empty field never asks. Kept in this browser."),
    el("div", "dialog-buttons", button("plain", "Close", () => dialog.close())),
  ]);
}

function askRow(settings: StoredSettings, { limit, label, name, decimals, shown, unit }: (typeof ASKS)[number]): HTMLElement {
  const input = new NumberInput({ label, name, decimals, decimalsShown: shown, optional: true }, (byHand) => {
    if (byHand && !input.refused) settings.change({ ask: { ...settings.now.ask, [limit]: input.value } });
  });
  input.root.dataset["limit"] = limit;
  input.set(settings.now.ask[limit]);
  return el("div", "settings-ask", input.root, el("span", "note", unit), input.refusal.node);
}
