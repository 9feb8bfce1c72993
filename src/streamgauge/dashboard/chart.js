// @ts-check
/**
 * A picture over time: lines, a stack of areas, or bands that the caller paints. uPlot, with columns in and nothing
 * else; it compares before it touches the canvas. Legend, table and states are not its business.
 */
import uPlot from "uplot";
import { plotOptions } from "./chart_options.js";

/** A mark is never thinner than this. */
const LEAST_MARK_PX = 3;

export class TimeChart {
  /** @param {HTMLElement} host @param {import("./chart_options.js").ChartOptions} options */
  constructor(host, options) {
    this.host = host;
    /** @type {any[]} */
    this.columns = [];
    /** @type {unknown} */
    this.painted = null;
    /** @type {{from: number, to: number} | null} */
    this.gap = null;
    /** How far a bucket reaches to the right of its place; lines end where the last one begins. */
    this.widthS = options.stepS ?? 0;
    /** @type {number | null} */
    this.openSince = null;
    this.gapMark = markOf("gap-mark");
    this.openMark = markOf("open-mark");
    this.plot = new uPlot(plotOptions(host, options, () => this.placeMarks()), [[], ...options.curves.map(() => [])], host);
    this.plot.over.append(this.openMark, this.gapMark);
    this.watcher = new ResizeObserver(() => this.fit());
    this.watcher.observe(host);
  }

  /** @param {any[]} columns times in seconds, then one column for each curve
   * @param {unknown} [painted] what the caller paints: another one is painted again */
  draw(columns, painted = null) {
    const same = columns.length === this.columns.length && columns.every((one, i) => one === this.columns[i]);
    if (same && painted === this.painted) return;
    this.columns = columns;
    this.painted = painted;
    this.plot.setData(/** @type {any} */ (columns));
  }

  /** Hatch a span as not received, or with null nothing. @param {{from: number, to: number} | null} gap epoch ms */
  markGap(gap) {
    if (gap === this.gap) return;
    this.gap = gap;
    this.placeMarks();
  }

  /** Draw the bucket that is still filling lighter. @param {number | null} since its start in seconds; null: there is none */
  markOpen(since) {
    if (since === this.openSince) return;
    this.openSince = since;
    this.placeMarks();
  }

  placeMarks() {
    const { gap, openSince, widthS } = this;
    const before = this.columns[0]?.at(-2) ?? openSince;
    this.place(this.gapMark, gap === null ? null : [gap.from / 1000, gap.to / 1000]);
    this.place(this.openMark, openSince === null ? null : widthS > 0 ? [openSince, openSince + widthS] : [before, openSince]);
  }

  /** @param {HTMLElement} mark @param {[number, number] | null} span seconds */
  place(mark, span) {
    const { min, max } = this.plot.scales.x;
    mark.hidden = span === null || min == null || max == null || span[1] < min || span[0] > max;
    if (span === null || mark.hidden) return;
    const left = this.plot.valToPos(Math.max(span[0], Number(min)), "x");
    const right = this.plot.valToPos(Math.min(span[1], Number(max)), "x");
    mark.style.left = `${left}px`;
    mark.style.width = `${Math.max(LEAST_MARK_PX, right - left)}px`;
  }

  /** @param {number} across in buckets @param {number} [up] in bands; charts without them ignore it */
  moveCursor(across, up = 0) {
    const { plot } = this;
    const last = (this.columns[0]?.length ?? 0) - 1;
    if (last < 0) return;
    const at = plot.cursor.idx ?? (across <= 0 ? last + (across === 0 ? 0 : 1) : -1);
    const index = Math.min(last, Math.max(0, at + across));
    const { min = 0, max = 1 } = plot.scales.y;
    const seen = plot.cursor.idx != null && plot.cursor.top !== undefined && plot.cursor.top >= 0;
    const height = seen ? plot.posToVal(plot.cursor.top ?? 0, "y") : (Number(min) + Number(max)) / 2;
    const middle = Math.floor(Math.min(Number(max) - 1, Math.max(Number(min), height + up))) + 0.5;
    const left = plot.valToPos(this.columns[0][index], "x");
    plot.setCursor({ left, top: up === 0 && seen ? plot.cursor.top ?? 0 : plot.valToPos(middle, "y") });
  }

  dropCursor() {
    this.plot.setCursor({ left: -10, top: -10 });
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

/** What is laid over a stretch of time. @param {string} name of the class */
function markOf(name) {
  const mark = document.createElement("div");
  mark.className = name;
  mark.hidden = true;
  return mark;
}
