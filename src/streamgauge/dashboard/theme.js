// @ts-check
/** Light, dark, or as the system has it; kept in this browser. */

const KEY = "streamgauge.theme";
/** @type {readonly import("./types.js").Theme[]} */
export const THEMES = Object.freeze(["system", "light", "dark"]);

/** @returns {import("./types.js").Theme} */
export function storedTheme() {
  try {
    const stored = localStorage.getItem(KEY);
    return THEMES.find((theme) => theme === stored) ?? "system";
  } catch (error) {
    // storage can be forbidden; the page then follows the system
    console.info("the theme is not kept:", error);
    return "system";
  }
}

/** @param {import("./types.js").Theme} theme */
export function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch (error) {
    console.info("the theme is not kept:", error);
  }
}

/** Calls back whenever the system changes between light and dark. @param {() => void} changed */
export function watchSystemTheme(changed) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
