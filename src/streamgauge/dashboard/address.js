// @ts-check
/** What the address of the page says, so that it can be shared: the range, the filter, the zone, the panel shown alone. Pure. */
import { parseRange, printRange } from "./range.js";

/** The panels that can be shown as tables, and alone. */
export const CHARTS = Object.freeze(["rate", "values", "latency", "heatmap"]);

/** @param {string} search the query string @returns {import("./types.js").Address} */
export function parseAddress(search) {
  const params = new URLSearchParams(search);
  const panel = CHARTS.find((id) => id === params.get("panel")) ?? null;
  return { choice: parseRange(search), filter: params.get("type") || null, utc: params.get("tz") === "utc", panel };
}

/** The query string that brings all of it back. @param {import("./types.js").Address} address */
export function printAddress({ choice, filter, utc, panel }) {
  const type = filter === null ? "" : `&type=${encodeURIComponent(filter)}`;
  return `${printRange(choice)}${type}${utc ? "&tz=utc" : ""}${panel === null ? "" : `&panel=${panel}`}`;
}
