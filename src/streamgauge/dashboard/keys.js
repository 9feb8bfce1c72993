// @ts-check
/** Keys of the page: one table that the listener and the help both read. */
import { PRESETS } from "./range.js";

/** Shown by the help dialogue. */
export const KEYS = Object.freeze([
  { keys: ["Space"], does: "pause and resume the picture" },
  { keys: ["1", "…", "6"], does: PRESETS.slice(0, 6).map(({ name }) => name).join(" · ") },
  { keys: ["t"], does: "tables instead of charts, and back" },
  { keys: ["←", "→"], does: "move the cursor in the chart that has the focus" },
  { keys: ["?"], does: "this help" },
  { keys: ["Esc"], does: "close, or leave a fixed range" },
]);

/**
 * What a key means, or null. Keys belong to the field while somebody types, and Space to a control that has
 * the focus by keyboard; combinations belong to the browser.
 * @param {{key: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean, repeat: boolean}} event
 * @param {"typing" | "control" | "page"} focus
 * @returns {{do: "pause" | "tables" | "help" | "close"} | {do: "preset", preset: string} | null}
 */
export function meaning(event, focus) {
  if (focus === "typing" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return null;
  if (event.key === " ") return focus === "page" ? { do: "pause" } : null;
  if (event.key === "t" || event.key === "T") return { do: "tables" };
  if (event.key === "?") return { do: "help" };
  if (event.key === "Escape") return { do: "close" };
  const index = ["1", "2", "3", "4", "5", "6"].indexOf(event.key);
  return index < 0 ? null : { do: "preset", preset: PRESETS[index].name };
}

/** @param {EventTarget | null} target @returns {"typing" | "control" | "page"} */
export function focusKind(target) {
  if (!(target instanceof Element)) return "page";
  if (target.closest("input, textarea, select, [contenteditable]")) return "typing";
  return target.closest("button, a[href], summary, dialog[open]") ? "control" : "page";
}

/** @param {(action: NonNullable<ReturnType<typeof meaning>>) => void} act @returns {() => void} stops listening */
export function listenForKeys(act) {
  /** @param {KeyboardEvent} event */
  const pressed = (event) => {
    const action = meaning(event, focusKind(event.target));
    // an open dialogue closes itself
    if (action === null || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    act(action);
  };
  /** A click leaves the focus on its button, where Space would press it again. @param {MouseEvent} event */
  const clicked = (event) => {
    if (event.detail > 0 && document.activeElement instanceof HTMLButtonElement) document.activeElement.blur();
  };
  addEventListener("keydown", pressed);
  addEventListener("click", clicked);
  return () => {
    removeEventListener("keydown", pressed);
    removeEventListener("click", clicked);
  };
}
