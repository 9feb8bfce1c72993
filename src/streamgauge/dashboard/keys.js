// @ts-check
/** Keys of the page: one table that the listener and the help both read. */
import { PAGES } from "./pages.js";
import { PRESETS } from "./range.js";

/** Shown by the help dialogue. */
export const KEYS = Object.freeze([
  { keys: ["Space"], does: "pause and resume the picture" },
  { keys: ["1", "…", "6"], does: PRESETS.slice(0, 6).map(({ name }) => name).join(" · ") },
  { keys: ["←", "→"], does: "earlier and later; in a chart, move its cursor" },
  { keys: ["−", "+"], does: "a longer and a shorter time" },
  { keys: ["t"], does: "tables instead of charts, and back; of one chart, where you point at it or are in it" },
  { keys: ["f"], does: "that chart alone, and back" },
  { keys: ["/"], does: "choose a type to filter by" },
  { keys: ["g", "…", "o", "s", "d"], does: "go to the overview, the sources, the dead letters" },
  { keys: ["r"], does: "fetch everything again" },
  { keys: ["."], does: "copy the address of what is shown" },
  { keys: ["?"], does: "this help" },
  { keys: ["Esc"], does: "close; leave a chart alone; clear the filter; leave a fixed time" },
]);

/**
 * @typedef {{do: "visit", page: import("./pages.js").PageName}} Visit
 * @typedef {Visit | {do: "pause" | "tables" | "full" | "help" | "close" | "filter" | "refresh" | "copy"} | {do: "preset", preset: string}
 *   | {do: "shift", direction: -1 | 1} | {do: "zoom", way: "in" | "out"}} Action
 */

/** After a `g`, the next key names a page, when it comes within so long. */
const GO_MS = 1_500;
/** @type {Readonly<Record<string, Action>>} */
const SINGLE = Object.freeze({
  " ": { do: "pause" }, t: { do: "tables" }, T: { do: "tables" }, f: { do: "full" }, "?": { do: "help" }, "/": { do: "filter" }, r: { do: "refresh" },
  ".": { do: "copy" }, "-": { do: "zoom", way: "out" }, "−": { do: "zoom", way: "out" }, "+": { do: "zoom", way: "in" },
  "=": { do: "zoom", way: "in" },
});
/** @type {Readonly<Record<string, Action>>} */
const NAMED = Object.freeze({
  Escape: { do: "close" }, ArrowLeft: { do: "shift", direction: -1 }, ArrowRight: { do: "shift", direction: 1 },
});

/**
 * What a key means, or null. Keys belong to the field while somebody types, and Space to a control that has
 * the focus by keyboard; combinations belong to the browser.
 * @param {{key: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean, repeat: boolean}} event
 * @param {"typing" | "control" | "scrolling" | "page"} focus
 * @param {boolean} singles  whether keys that write a character are on
 * @returns {Action | null}
 */
export function meaning(event, focus, singles) {
  if (focus === "typing" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return null;
  if (Object.hasOwn(NAMED, event.key)) return focus === "scrolling" && event.key !== "Escape" ? null : NAMED[event.key];
  if (!singles || (event.key === " " && focus === "control")) return null;
  if (Object.hasOwn(SINGLE, event.key)) return SINGLE[event.key];
  const index = ["1", "2", "3", "4", "5", "6"].indexOf(event.key);
  return index < 0 ? null : { do: "preset", preset: PRESETS[index].name };
}

/** @param {EventTarget | null} target @returns {"typing" | "control" | "scrolling" | "page"} */
export function focusKind(target) {
  if (!(target instanceof Element)) return "page";
  if (target.closest("input, textarea, select, [contenteditable]")) return "typing";
  if (target.closest("button, a[href], summary, dialog[open]")) return "control";
  return target.closest("[tabindex]") ? "scrolling" : "page";
}

/** Where a key after `g` leads, or null. @param {string} key @returns {Visit | null} */
export function destination(key) {
  const page = PAGES.find((one) => one.key === key);
  return page === undefined ? null : { do: "visit", page: page.name };
}

/** @param {(action: Action) => boolean | void} act  false: the key means nothing here @param {() => boolean} singles
 * @returns {() => void} stops listening */
export function listenForKeys(act, singles) {
  let goAt = -Infinity;
  /** @param {KeyboardEvent} event */
  const pressed = (event) => {
    const focus = focusKind(event.target);
    const going = singles() && focus !== "typing" && event.timeStamp - goAt < GO_MS;
    const isPlain = !(event.ctrlKey || event.metaKey || event.altKey);
    goAt = event.key === "g" && isPlain ? event.timeStamp : -Infinity;
    const action = (going && isPlain ? destination(event.key) : null) ?? meaning(event, focus, singles());
    // what lies over the page closes itself
    if (action === null || document.querySelector("dialog[open], :popover-open")) return;
    if (act(action) !== false) event.preventDefault();
  };
  /** A click leaves the focus on its button, where Space would press it again. @param {MouseEvent} event */
  const clicked = (event) => {
    const active = document.activeElement;
    if (event.detail > 0 && active instanceof HTMLButtonElement && !document.querySelector(":popover-open")) active.blur();
  };
  addEventListener("keydown", pressed);
  addEventListener("click", clicked);
  return () => {
    removeEventListener("keydown", pressed);
    removeEventListener("click", clicked);
  };
}
