// @ts-check
/**
 * A heatmap: which bands are shown, what their edges are called, and how the cells are painted.
 *
 * @typedef {object} HeatModel
 * @property {import("./types.js").Column[]} rows  for each band that is shown, from the bottom, a count per bucket
 * @property {string[]} edges  one more than rows
 * @property {boolean} open  the highest band has no upper end
 * @property {number} most  in one cell
 * @property {number} stepS
 */
import { duration, trimmed } from "./format.js";
import { rampStep } from "./ramp.js";

/** Fewer bands than these are not shown, so that a picture with little in it does not jump. */
const LEAST_BANDS = 6;
const CELL_GAP_PX = 1;
/** Cells narrower than this touch each other. */
const LEAST_CELL_PX = 5;

/** The bands from the lowest to the highest that hold anything. @param {import("./types.js").Heatmap} heatmap
 * @param {number} stepMs @returns {HeatModel} */
export function heatModel({ bounds_ms: bounds, columns }, stepMs) {
  let low = bounds.length;
  let high = -1;
  let most = 0;
  for (const column of columns) {
    column?.forEach((count, band) => {
      if (count <= 0) return;
      low = Math.min(low, band);
      high = Math.max(high, band);
      most = Math.max(most, count);
    });
  }
  if (high < 0) [low, high] = [0, Math.min(bounds.length, LEAST_BANDS) - 1];
  high = Math.min(bounds.length - 1, Math.max(high, low + LEAST_BANDS - 1));
  low = Math.max(0, Math.min(low, high - LEAST_BANDS + 1));
  const bands = bounds.slice(low, high + 1);
  return {
    rows: bands.map((_, row) => columns.map((column) => column?.[low + row] ?? null)),
    edges: [low === 0 ? "0" : edge(bounds[low - 1]), ...bands.map(edge)],
    open: high === bounds.length - 1,
    most,
    stepS: stepMs / 1000,
  };
}

/** A band in words: 0.2 ms to 0.4 ms. The last one there is also holds what is slower still.
 * @param {HeatModel} model @param {number} row */
export function bandWords({ edges, open }, row) {
  if (open && row === edges.length - 2) return `over ${edges[row]}`;
  return edges[row] === "0" ? `up to ${edges[row + 1]}` : `${edges[row]} to ${edges[row + 1]}`;
}

/** @param {any} plot uPlot @param {HeatModel} model @param {string[]} colours few to many */
export function paintHeat(plot, { rows, most, stepS }, colours) {
  const times = plot.data[0];
  if (times.length === 0) return;
  const { ctx } = plot;
  const x = times.concat(times[times.length - 1] + stepS).map((/** @type {number} */ second) => Math.round(plot.valToPos(second, "x", true)));
  const gap = x[1] - x[0] >= LEAST_CELL_PX * devicePixelRatio ? CELL_GAP_PX * devicePixelRatio : 0;
  ctx.save();
  rows.forEach((row, band) => {
    const top = Math.round(plot.valToPos(band + 1, "y", true));
    const height = Math.round(plot.valToPos(band, "y", true)) - top - CELL_GAP_PX * devicePixelRatio;
    row.forEach((count, index) => {
      if (!count) return;
      ctx.fillStyle = colours[rampStep(count, most)];
      ctx.fillRect(x[index], top, x[index + 1] - x[index] - gap, height);
    });
  });
  ctx.restore();
}

/** @param {number} ms */
function edge(ms) {
  return trimmed(duration(ms));
}
