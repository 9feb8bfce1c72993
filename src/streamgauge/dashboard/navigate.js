// @ts-check
/** From the range that is shown to the one before, after, wider or closer. Pure. */
import { ALL, covering, PRESETS } from "./range.js";

/** @typedef {import("./types.js").Choice} Choice @typedef {import("./types.js").Range} Range */

/** The presets that move with time, by length. */
const LADDER = PRESETS.map(({ name }) => name).filter((name) => name !== ALL);
const SPANS_MS = Object.freeze({ "5m": 3e5, "15m": 9e5, "1h": 36e5, "6h": 216e5, "24h": 864e5, "7d": 6048e5 });
const LEAST_MS = 1_000;
const MOST_MS = 50 * 365 * 86_400_000;
/** A preset covers whole buckets, so what is shown of it may be longer or shorter by one. */
const ABOUT = 0.02;
/** A fixed range that ends so near to now, in lengths of itself, is meant to be live. */
const NEAR_NOW = 0.25;

/**
 * Half a length earlier or later. From a live range only earlier; and a fixed range that reaches now again is
 * the live one of its length, if there is one.
 * @param {Range} range what is shown @param {-1 | 1} direction @param {number} now @returns {Choice | null} null: nowhere to go
 */
export function shifted(range, direction, now) {
  if (range.live && direction > 0) return null;
  const span = range.to - range.from;
  const by = Math.max(LEAST_MS, Math.round(span / 2)) * direction;
  const from = range.from + by;
  const to = range.to + by;
  if (direction > 0 && to >= now - span * NEAR_NOW) {
    const preset = LADDER.find((name) => Math.abs(span - spanOf(name)) <= spanOf(name) * ABOUT);
    return preset === undefined ? { from: now - span, to: now } : { preset };
  }
  return { from, to };
}

/**
 * Twice as long or half as long, round the middle; a live range goes to the next preset, and stays live.
 * @param {Choice} choice @param {Range} range what is shown @param {"in" | "out"} way
 * @param {import("./types.js").Extent | null} extent @returns {Choice | null} null: no further
 */
export function zoomed(choice, range, way, extent) {
  if (range.live && "preset" in choice) {
    const next = LADDER[LADDER.indexOf(choice.preset) + (way === "out" ? 1 : -1)];
    if (next !== undefined) return { preset: next };
    return way === "out" && extent !== null ? covering(extent) : null;
  }
  const middle = (range.from + range.to) / 2;
  const span = (range.to - range.from) * (way === "out" ? 2 : 0.5);
  if (span < LEAST_MS || span > MOST_MS) return null;
  return { from: Math.round(middle - span / 2), to: Math.round(middle + span / 2) };
}

/** @param {string} preset */
function spanOf(preset) {
  return SPANS_MS[/** @type {keyof typeof SPANS_MS} */ (preset)];
}
