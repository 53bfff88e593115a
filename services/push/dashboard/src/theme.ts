import type { StoredSettings, Theme } from "./settings";

const light = window.matchMedia("(prefers-color-scheme: light)");

/** The theme in force: the one that was chosen, else what the system prefers. */
export function themeInForce(chosen: Theme): "dark" | "light" {
  if (chosen !== "system") return chosen;
  return light.matches ? "light" : "dark";
}

/** Puts the theme on the page, now and whenever the choice or the system changes; then calls `changed`. */
export function followTheme(settings: StoredSettings, changed: () => void): void {
  const apply = (): void => {
    document.documentElement.dataset["theme"] = themeInForce(settings.now.theme);
    changed();
  };
  light.addEventListener("change", apply);
  settings.follow(apply);
}

/** A colour of the style sheet, such as "--up", as the browser computes it in the theme in force. */
export function colour(name: string, opacity = 1): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g) ?? ["0", "0", "0"];
  probe.remove();
  return `rgba(${red}, ${green}, ${blue}, ${opacity})`;
}
