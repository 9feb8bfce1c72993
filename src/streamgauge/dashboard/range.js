// @ts-check
/**
 * The range of time that a viewer has chosen: what the buttons offer, what the address says, and what the
 * server is asked for. Pure.
 */

export const DEFAULT_PRESET = "15m";

/** Everything there is; an absolute range that the page takes from the extent of the data. */
export const ALL = "all";

export const PRESETS = Object.freeze([
  { name: "5m", words: "last 5 minutes" },
  { name: "15m", words: "last 15 minutes" },
  { name: "1h", words: "last hour" },
  { name: "6h", words: "last 6 hours" },
  { name: "24h", words: "last 24 hours" },
  { name: "7d", words: "last 7 days" },
  { name: ALL, words: "all data there is" },
]);

/**
 * What the address asks for; the default where it asks for nothing or for nonsense.
 * Times are ISO 8601 or epoch milliseconds.
 * @param {string} search the query string of the address
 * @returns {import("./types.js").Choice}
 */
export function parseRange(search) {
  const params = new URLSearchParams(search);
  const from = parseTime(params.get("from"));
  const to = parseTime(params.get("to"));
  if (from !== null && to !== null && from < to) return { from, to };
  const preset = params.get("range");
  return { preset: PRESETS.some(({ name }) => name === preset) ? String(preset) : DEFAULT_PRESET };
}

/** The query string that brings a choice back. @param {import("./types.js").Choice} choice */
export function printRange(choice) {
  if ("preset" in choice) return `?range=${choice.preset}`;
  return `?from=${new Date(choice.from).toISOString()}&to=${new Date(choice.to).toISOString()}`;
}

/**
 * The parameters of the join. "all" asks for the extent, and for the default until that is known.
 * @param {import("./types.js").Choice} choice
 * @param {import("./types.js").Extent | null} extent
 * @param {string | null} filter the only type to be shown, or null
 */
export function joinParams(choice, extent, filter) {
  return { ...rangeParams(choice, extent), ...(filter === null ? {} : { type: filter }) };
}

/** @param {import("./types.js").Choice} choice @param {import("./types.js").Extent | null} extent */
function rangeParams(choice, extent) {
  if (!("preset" in choice)) return { from: choice.from, to: choice.to };
  if (choice.preset !== ALL) return { range: choice.preset };
  return extent === null ? { range: DEFAULT_PRESET } : covering(extent);
}

/** The range that holds every event of the extent; the end of a range is not part of it.
 * @param {import("./types.js").Extent} extent */
export function covering(extent) {
  return { from: extent.from, to: Math.max(extent.to, extent.from + 999) + 1 };
}

/** @param {import("./types.js").Choice} a @param {import("./types.js").Choice} b */
export function sameChoice(a, b) {
  return printRange(a) === printRange(b);
}

/** @param {string | null} text @returns {number | null} epoch milliseconds */
function parseTime(text) {
  if (text === null || text.trim() === "") return null;
  const ms = /^-?\d+$/.test(text) ? Number(text) : Date.parse(text);
  // beyond this, Date cannot hold a time
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? ms : null;
}
