// @ts-check
/** What uPlot is told for one of our charts: axes, scales, colours. */
import uPlot from "uplot";
import { trimmed } from "./format.js";

/**
 * @typedef {object} ChartOptions
 * @property {{label: string, colour: string}[]} curves
 * @property {import("./times.js").Times} times
 * @property {boolean} [stacked]  the columns are sums from the bottom, and each is filled down to the one before
 * @property {boolean} [fromZero]
 * @property {(value: number) => string} format  of the ticks
 * @property {() => {edges: string[]}} [bands]  the vertical axis counts bands; the names of their edges, from the bottom
 * @property {number} [stepS]  with bands: how wide the last bucket is
 * @property {(plot: any) => void} [paint]  draws on the canvas, below the axes
 * @property {(fromMs: number, toMs: number) => void} onZoom  a stretch was dragged
 * @property {(index: number | null, height: number | null) => void} onCursor  height: on the vertical scale
 */

/** Cursors of charts with the same key move together. */
const SYNC_KEY = "overview";
const LEAST_ZOOM_MS = 1_000;
const BAND_LABEL_PX = 22;
/** Half of a label of the time axis: nearer to the edge it would be cut off. */
const HALF_LABEL_PX = 24;
/** What is free to the right of the picture. */
const EDGE_PX = 6;
/** What the top of a scale may be, in its power of ten: steps that are few enough to keep it still. */
const TOPS = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

/** @param {HTMLElement} host @param {ChartOptions} options @param {() => void} drawn @returns {any} */
export function plotOptions(host, options, drawn) {
  const { curves, stacked = false, fromZero = false, bands, times, onZoom, onCursor, paint } = options;
  const colours = curves.map(({ colour }) => resolved(host, colour));
  return {
    width: Math.max(host.clientWidth, 50),
    height: Math.max(host.clientHeight, 50),
    padding: [8, EDGE_PX, 0, 0],
    legend: { show: false },
    tzDate: times.utc ? (/** @type {number} */ second) => uPlot.tzDate(new Date(second * 1000), "Etc/UTC") : undefined,
    cursor: {
      sync: { key: SYNC_KEY, setSeries: false, scales: ["x", null] },
      drag: { x: true, y: false, setScale: false, dist: 6 },
      points: { size: 7, width: 2, show: !stacked && bands === undefined },
      y: bands !== undefined,
    },
    scales: {
      x: { range: (/** @type {any} */ _plot, /** @type {number} */ min, /** @type {number} */ max) => xRange(min, max, options.stepS ?? 0) },
      y: {
        range: (/** @type {any} */ _plot, /** @type {number} */ min, /** @type {number} */ max) =>
          (bands === undefined ? yRange(min, max, fromZero) : [0, Math.max(1, bands().edges.length - 1)]),
      },
    },
    axes: axes(host, options),
    series: [{}, ...curves.map(({ label }, index) => oneSeries(label, colours[index], stacked, bands !== undefined))],
    bands: stacked ? curves.slice(1).map((_, index) => ({ series: [index + 2, index + 1] })) : [],
    hooks: {
      setCursor: [(/** @type {any} */ plot) => onCursor(plot.cursor.idx ?? null, heightAt(plot))],
      setSelect: [(/** @type {any} */ plot) => zoomed(plot, onZoom)],
      drawClear: paint === undefined ? [] : [paint],
      draw: [drawn],
    },
  };
}

/** @param {string} label @param {string} colour @param {boolean} stacked @param {boolean} unseen */
function oneSeries(label, colour, stacked, unseen) {
  return {
    label,
    stroke: colour,
    // strokes of a stack would cover its thin layers
    width: stacked || unseen ? 0 : 1.75,
    fill: stacked ? withAlpha(colour, 0.78) : undefined,
    spanGaps: false,
    points: unseen ? { show: false } : { show: true, size: 4, fill: colour, filter: lonely },
  };
}

/** @param {HTMLElement} host @param {ChartOptions} options */
function axes(host, { format, bands, times }) {
  const ink = resolved(host, "--ink-muted");
  const line = resolved(host, "--grid-line");
  const font = `11px ${getComputedStyle(host).fontFamily}`;
  const common = { stroke: ink, font, labelFont: font };
  const vertical = { ...common, gap: 8, ticks: { show: false } };
  return [
    {
      ...common, size: 26, gap: 5, space: 76, grid: { show: false }, ticks: { stroke: line, width: 1, size: 4 },
      values: (/** @type {any} */ plot, /** @type {number[]} */ splits, /** @type {any} */ _axis, /** @type {any} */ _space, /** @type {number} */ step) =>
        splits.map((second) => (isAtEdge(plot, second) ? "" : times.tick(second * 1000, step * 1000))),
    },
    bands === undefined
      ? {
          ...vertical, size: 54, space: 34, grid: { stroke: line, width: 1 },
          values: (/** @type {any} */ _plot, /** @type {number[]} */ splits) => splits.map((value) => trimmed(format(value))),
        }
      : {
          ...vertical, size: 58, grid: { show: false },
          splits: (/** @type {any} */ plot) => bandSplits(bands().edges.length, plot.bbox.height / devicePixelRatio),
          values: (/** @type {any} */ _plot, /** @type {number[]} */ splits) => splits.map((edge) => bands().edges[edge] ?? ""),
        },
  ];
}

/** Whether a label would reach beyond the right end of the picture. @param {any} plot @param {number} second */
function isAtEdge(plot, second) {
  return plot.valToPos(second, "x") > plot.bbox.width / devicePixelRatio - HALF_LABEL_PX + EDGE_PX;
}

/** Edges that have room for their names. @param {number} edges @param {number} height in pixels */
function bandSplits(edges, height) {
  const every = Math.max(1, Math.ceil(((edges - 1) * BAND_LABEL_PX) / Math.max(1, height)));
  const splits = [];
  for (let edge = 0; edge < edges; edge += every) splits.push(edge);
  return splits;
}

/** A value with nothing on either side has no line, so it gets a dot. @param {any} plot @param {number} series */
function lonely(plot, series) {
  const column = plot.data[series];
  const found = [];
  for (let index = 0; index < column.length; index += 1) {
    if (column[index] !== null && (column[index - 1] ?? null) === null && (column[index + 1] ?? null) === null) {
      found.push(index);
    }
  }
  return found;
}

/** @param {any} plot */
function heightAt(plot) {
  return plot.cursor.top >= 0 && plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.top, "y") : null;
}

/** @param {any} plot @param {(fromMs: number, toMs: number) => void} onZoom */
function zoomed(plot, onZoom) {
  const { left, width } = plot.select;
  if (width <= 0) return;
  const from = Math.floor(plot.posToVal(left, "x") * 1000);
  const to = Math.ceil(plot.posToVal(left + width, "x") * 1000);
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  onZoom(from, Math.max(to, from + LEAST_ZOOM_MS));
}

/** @param {number | null} min @param {number | null} max @param {number} after room after the last */
function xRange(min, max, after) {
  if (min === null || max === null) return [0, 1];
  return min === max && after === 0 ? [min - 1, max + 1] : [min, max + after];
}

/** A scale that seldom moves while data moves. @param {number | null} min @param {number | null} max @param {boolean} fromZero
 * @returns {[number, number]} */
export function yRange(min, max, fromZero) {
  if (min === null || max === null) return [0, 1];
  if (fromZero || (min >= 0 && min <= max * 0.6)) return [0, niceTop(max)];
  const margin = (max - min || Math.abs(max) || 1) * 0.1;
  return [min - margin, max + margin];
}

/** @param {number} value */
function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * (TOPS.find((top) => top * power >= value * 1.02) ?? 12);
}

/** The canvas needs a colour, not the name of one. @param {HTMLElement} host @param {string} name */
export function resolved(host, name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  host.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** @param {string} colour rgb(…) @param {number} alpha */
function withAlpha(colour, alpha) {
  return colour.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
}
