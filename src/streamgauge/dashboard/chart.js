// @ts-check
/**
 * A line chart over time, or a stack of areas: uPlot, with columns in and nothing else.
 * It compares before it touches the canvas. Legend, table and states are not its business.
 *
 * @typedef {object} ChartOptions
 * @property {{label: string, colour: string}[]} curves
 * @property {boolean} stacked  the columns are sums from the bottom, and each is filled down to the one before
 * @property {boolean} fromZero
 * @property {(value: number) => string} format  of the ticks
 * @property {(fromMs: number, toMs: number) => void} onZoom  a stretch was dragged
 * @property {(index: number | null) => void} onCursor
 */
import uPlot from "uplot";
import { tick, trimmed } from "./format.js";

/** Cursors of charts with the same key move together. */
const SYNC_KEY = "overview";
const LEAST_ZOOM_MS = 1_000;
/** What the top of a scale may be, in its power of ten: steps that are few enough to keep it still. */
const TOPS = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

export class TimeChart {
  /** @param {HTMLElement} host @param {ChartOptions} options */
  constructor(host, options) {
    this.host = host;
    /** @type {any[]} */
    this.columns = [];
    this.plot = new uPlot(plotOptions(host, options), [[], ...options.curves.map(() => [])], host);
    this.watcher = new ResizeObserver(() => this.fit());
    this.watcher.observe(host);
  }

  /** @param {any[]} columns times in seconds, then one column for each curve */
  draw(columns) {
    const same = columns.length === this.columns.length && columns.every((one, i) => one === this.columns[i]);
    if (same) return;
    this.columns = columns;
    this.plot.setData(columns);
  }

  /** @param {number} step of the cursor, in buckets */
  moveCursor(step) {
    const last = (this.columns[0]?.length ?? 0) - 1;
    if (last < 0) return;
    const index = Math.min(last, Math.max(0, (this.plot.cursor.idx ?? (step < 0 ? last + 1 : -1)) + step));
    const left = this.plot.valToPos(this.columns[0][index], "x");
    this.plot.setCursor({ left, top: this.plot.bbox.height / devicePixelRatio / 2 });
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (width > 0 && height > 0 && (width !== this.plot.width || height !== this.plot.height)) {
      this.plot.setSize({ width, height });
    }
  }

  destroy() {
    this.watcher.disconnect();
    this.plot.destroy();
  }
}

/** @param {HTMLElement} host @param {ChartOptions} options */
function plotOptions(host, { curves, stacked, fromZero, format, onZoom, onCursor }) {
  const colours = curves.map(({ colour }) => resolved(host, colour));
  return {
    width: Math.max(host.clientWidth, 50),
    height: Math.max(host.clientHeight, 50),
    padding: [8, 6, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: SYNC_KEY, setSeries: false, scales: ["x", null] },
      drag: { x: true, y: false, setScale: false, dist: 6 },
      points: { size: 7, width: 2, show: !stacked },
      y: false,
    },
    scales: {
      x: { range: (/** @type {any} */ _plot, /** @type {number} */ min, /** @type {number} */ max) => xRange(min, max) },
      y: { range: (/** @type {any} */ _plot, /** @type {number} */ min, /** @type {number} */ max) => yRange(min, max, fromZero) },
    },
    axes: axes(host, format),
    series: [{}, ...curves.map(({ label }, index) => oneSeries(label, colours[index], stacked))],
    bands: stacked ? curves.slice(1).map((_, index) => ({ series: [index + 2, index + 1] })) : [],
    hooks: {
      setCursor: [(/** @type {any} */ plot) => onCursor(plot.cursor.idx ?? null)],
      setSelect: [(/** @type {any} */ plot) => zoomed(plot, onZoom)],
    },
  };
}

/** @param {string} label @param {string} colour @param {boolean} stacked */
function oneSeries(label, colour, stacked) {
  return {
    label,
    stroke: colour,
    // strokes of a stack would cover its thin layers
    width: stacked ? 0 : 1.75,
    fill: stacked ? withAlpha(colour, 0.78) : undefined,
    spanGaps: false,
    points: { show: true, size: 4, fill: colour, filter: lonely },
  };
}

/** @param {HTMLElement} host @param {(value: number) => string} format */
function axes(host, format) {
  const ink = resolved(host, "--ink-muted");
  const line = resolved(host, "--grid-line");
  const font = `11px ${getComputedStyle(host).fontFamily}`;
  const common = { stroke: ink, font, labelFont: font };
  return [
    {
      ...common, size: 26, gap: 5, space: 76, grid: { show: false }, ticks: { stroke: line, width: 1, size: 4 },
      values: (/** @type {any} */ _plot, /** @type {number[]} */ splits, /** @type {any} */ _axis, /** @type {any} */ _space, /** @type {number} */ step) =>
        splits.map((second) => tick(second * 1000, step * 1000)),
    },
    {
      ...common, size: 54, gap: 8, space: 34, grid: { stroke: line, width: 1 }, ticks: { show: false },
      values: (/** @type {any} */ _plot, /** @type {number[]} */ splits) => splits.map((value) => trimmed(format(value))),
    },
  ];
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

/** @param {any} plot @param {(fromMs: number, toMs: number) => void} onZoom */
function zoomed(plot, onZoom) {
  const { left, width } = plot.select;
  if (width <= 0) return;
  const from = Math.floor(plot.posToVal(left, "x") * 1000);
  const to = Math.ceil(plot.posToVal(left + width, "x") * 1000);
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  onZoom(from, Math.max(to, from + LEAST_ZOOM_MS));
}

/** @param {number | null} min @param {number | null} max */
function xRange(min, max) {
  if (min === null || max === null) return [0, 1];
  return min === max ? [min - 1, max + 1] : [min, max];
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
function resolved(host, name) {
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
