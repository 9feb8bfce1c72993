// @ts-check
/** The six numbers on top: how many, how fast, how large. */
import { latestOf, peakOf, perSecond, runningSum } from "../derive.js";
import { compact, exact, rate, trimmed } from "../format.js";
import { html } from "../html.js";
import { Hint } from "./hint.js";
import { Sparkline } from "./sparkline.js";

/** @param {{store: import("../state.js").Store}} props */
export function Tiles({ store }) {
  const state = store.state.value;
  return html`
    <section class="tiles" aria-label="Key numbers">
      ${tileProps(state).map((props) => html`<${Tile} key=${props.label} ...${props} />`)}
    </section>`;
}

/**
 * @typedef {object} TileProps
 * @property {string} label
 * @property {string} hint
 * @property {string} value
 * @property {string} full  every digit
 * @property {string} note
 * @property {import("../types.js").Column} spark
 */

/** @param {TileProps} props */
function Tile({ label, hint, value, full, note, spark }) {
  return html`
    <div class="tile">
      <h2>${label} <${Hint} words=${hint} of=${label} /></h2>
      <div class="tile-row"><b class="tile-value" title=${full}>${value}</b><span class="tile-note">${note}</span></div>
      <${Sparkline} values=${spark} />
    </div>`;
}

/** @param {import("../types.js").State | null} state @returns {TileProps[]} */
function tileProps(state) {
  const totals = state?.totals.events;
  const spread = totals?.count ? `${trimmed(compact(totals.min))} … ${trimmed(compact(totals.max))}` : "";
  const within = "of the values in the range are at or below it, within 1.1 %";
  return [
    totalTile(state),
    throughputTile(state),
    valueTile(state, "avg", "Average value", "Mean of the field value in the range; events without one are left out.", spread),
    valueTile(state, "p50", "P50", `The median: half ${within}.`),
    valueTile(state, "p95", "P95", `95 in 100 ${within}.`),
    valueTile(state, "p99", "P99", `99 in 100 ${within}: the slow or large end.`),
  ];
}

/** @param {import("../types.js").State | null} state @returns {TileProps} */
function totalTile(state) {
  const inRange = state?.totals.events.count;
  return {
    label: "Total events",
    hint: "Every event counted since the first one. Beside it: how many fall into the chosen range.",
    value: compact(state?.total_events),
    full: exact(state?.total_events),
    note: `${compact(inRange)} in range`,
    spark: inRange ? runningSum(state?.series.count ?? []) : [],
  };
}

/** @param {import("../types.js").State | null} state @returns {TileProps} */
function throughputTile(state) {
  const perS = state === null ? [] : perSecond(state, state.series.count ?? []);
  const peak = peakOf(perS);
  return {
    label: "Throughput",
    hint: "Events received per second, right now. Beside it: the busiest moment of the range.",
    value: rate(state?.rate),
    full: `${exact(state?.rate)} events per second`,
    note: peak === null ? "" : `peak ${rate(peak)}`,
    spark: perS,
  };
}

/** @param {import("../types.js").State | null} state @param {"avg" | "p50" | "p95" | "p99"} key @param {string} label
 * @param {string} hint @param {string} [given] the note, if it is not the newest value @returns {TileProps} */
function valueTile(state, key, label, hint, given) {
  const total = state?.totals.events[key];
  const spark = state?.series[key] ?? [];
  const newest = latestOf(spark);
  const note = given ?? (newest === null ? "" : `now ${compact(newest)}`);
  return { label, hint, note, value: compact(total), full: exact(total), spark };
}
