// @ts-check
/** The shape of a series in a tile: a line without axes. Gaps stay gaps. */
import { html } from "../html.js";

const WIDTH = 100;
const HEIGHT = 24;
/** More points than this are not seen on so small a picture. */
const MOST_POINTS = 60;

/** @param {{values: import("../types.js").Column}} props */
export function Sparkline({ values }) {
  const { line, area } = sparkPaths(thinned(values, MOST_POINTS));
  return html`
    <svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
      <path class="spark-area" d=${area} /><path class="spark-line" d=${line} />
    </svg>`;
}

/** The paths of the line and of the area below it, in a box of 100 by 24.
 * @param {import("../types.js").Column} values */
function sparkPaths(values) {
  const present = values.filter((value) => value !== null);
  const low = Math.min(...present);
  const span = Math.max(...present) - low || 1;
  const x = (/** @type {number} */ index) => round((index / Math.max(1, values.length - 1)) * WIDTH);
  const y = (/** @type {number} */ value) => round(HEIGHT - 2 - ((value - low) / span) * (HEIGHT - 4));
  let line = "";
  let area = "";
  let start = -1;
  for (let index = 0; index <= values.length; index += 1) {
    const value = values[index] ?? null;
    if (value !== null) {
      // the first point is drawn to itself: alone, it is a dot
      line += `${start < 0 ? `M${x(index)} ${y(value)}` : ""}L${x(index)} ${y(value)}`;
      area += start < 0 ? `M${x(index)} ${HEIGHT}L${x(index)} ${y(value)}` : `L${x(index)} ${y(value)}`;
      if (start < 0) start = index;
    } else if (start >= 0) {
      area += `L${x(index - 1)} ${HEIGHT}Z`;
      start = -1;
    }
  }
  return { line, area };
}

/** Means of neighbours, so that at most `most` are left. @param {import("../types.js").Column} values @param {number} most */
function thinned(values, most) {
  const group = Math.ceil(values.length / most);
  if (group <= 1) return values;
  const few = [];
  for (let start = 0; start < values.length; start += group) {
    const present = values.slice(start, start + group).filter((value) => value !== null);
    few.push(present.length === 0 ? null : present.reduce((sum, value) => sum + value, 0) / present.length);
  }
  return few;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
