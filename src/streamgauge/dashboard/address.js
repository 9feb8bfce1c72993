// @ts-check
/** What the address of the page says, so that it can be shared: the range, the filter, the zone. Pure. */
import { parseRange, printRange } from "./range.js";

/** @param {string} search the query string @returns {import("./types.js").Address} */
export function parseAddress(search) {
  const params = new URLSearchParams(search);
  return { choice: parseRange(search), filter: params.get("type") || null, utc: params.get("tz") === "utc" };
}

/** The query string that brings all of it back. @param {import("./types.js").Address} address */
export function printAddress({ choice, filter, utc }) {
  const type = filter === null ? "" : `&type=${encodeURIComponent(filter)}`;
  return `${printRange(choice)}${type}${utc ? "&tz=utc" : ""}`;
}
