// @ts-check
/** Light, dark, or as the system has it; kept in this browser. */
import { keep, kept } from "./kept.js";

/** theme_first.js reads it too, before the first paint. */
const NAME = "theme";
/** @type {readonly import("./types.js").Theme[]} */
export const THEMES = Object.freeze(["system", "light", "dark"]);

/** @returns {import("./types.js").Theme} */
export function storedTheme() {
  const stored = kept(NAME);
  return THEMES.find((theme) => theme === stored) ?? "system";
}

/** @param {import("./types.js").Theme} theme */
export function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  keep(NAME, theme);
}

/** Calls back whenever the system changes between light and dark. @param {() => void} changed */
export function watchSystemTheme(changed) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
