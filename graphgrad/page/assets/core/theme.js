/* Light, dark or as the system; the choice is kept where the browser allows it. */

import { announceEvent } from "./events.js";
import { say } from "./messages.js";

const THEMES = ["system", "light", "dark"];

export function themeNow() {
  const set = document.documentElement.dataset.theme;
  if (set) return set;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

export function applyTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  const button = document.getElementById("theme-button");
  if (button) button.textContent = { light: "☀", dark: "☾" }[theme] ?? "◐";
}

export function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  applyTheme(next);
  store("theme", next);
  say(`colours: ${next}`);
  announceEvent("theme", themeNow());
}

/* Storage may be refused (a file opened from disk); then the choice lasts as long as the page. */
export function stored(name) {
  try {
    return localStorage.getItem(`graphgrad-${name}`);
  } catch {
    return null;
  }
}

function store(name, value) {
  try {
    localStorage.setItem(`graphgrad-${name}`, value);
  } catch {
    /* see above */
  }
}
