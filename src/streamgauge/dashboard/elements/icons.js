// @ts-check
/** Small pictures; each is beside a word or on a button with a label. */
import { html } from "../html.js";

/** @type {Readonly<Record<import("../types.js").Theme, string>>} */
const THEMES = Object.freeze({
  system: "M2 3h12v8H2zM6 14h4M8 11v3",
  light: "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
  dark: "M13.5 9.7A6 6 0 0 1 6.3 2.5a6 6 0 1 0 7.2 7.2z",
});

export function Mark() {
  return html`
    <svg class="mark" viewBox="0 0 24 24" aria-hidden="true">
      <path d="M3 8.5c3-2.6 6-2.6 9 0s6 2.6 9 0" /><path d="M3 14.5c3-2.6 6-2.6 9 0s6 2.6 9 0" /><path d="M12 3v18" />
    </svg>`;
}

export function Clock() {
  return html`<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2.5 3.5h11v10h-11zM2.5 6.5h11M5.5 1.5v3M10.5 1.5v3" /></svg>`;
}

/** @param {{theme: import("../types.js").Theme}} props */
export function ThemeIcon({ theme }) {
  return html`<svg viewBox="0 0 16 16" aria-hidden="true"><path d=${THEMES[theme]} /></svg>`;
}

/** @param {{stopped: boolean}} props */
export function PlayIcon({ stopped }) {
  return html`<svg viewBox="0 0 12 12" aria-hidden="true"><path d=${stopped ? "M3 1.5v9l7-4.5z" : "M2.5 1.5h2.4v9H2.5zM7.1 1.5h2.4v9H7.1z"} /></svg>`;
}
