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
  return html`<section class="tiles" aria-label="Key numbers">${tileProps(state).map((props) => html`<${Tile} key=${props.label} ...${props} />`)}</section>`;
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
  const series = state?.series ?? {};
  const perS = state === null ? [] : perSecond(state, series.count ?? []);
  const value = (/** @type {"avg" | "p50" | "p95" | "p99"} */ key, /** @type {string} */ label, /** @type {string} */ hint, /** @type {string} */ note) => ({
    label, hint, note, value: compact(totals?.[key]), full: exact(totals?.[key]), spark: series[key] ?? [],
  });
  const now = (/** @type {string} */ key) => (latestOf(series[key]) === null ? "" : `now ${compact(latestOf(series[key]))}`);
  return [
    {
      label: "Total events", hint: "Every event counted since the first one. Beside it: how many fall into the chosen range.",
      value: compact(state?.total_events), full: exact(state?.total_events), note: `${compact(totals?.count)} in range`, spark: totals?.count ? runningSum(series.count ?? []) : [],
    },
    {
      label: "Throughput", hint: "Events received per second, right now. Beside it: the busiest moment of the range.",
      value: rate(state?.rate), full: `${exact(state?.rate)} events per second`, note: peakOf(perS) === null ? "" : `peak ${rate(peakOf(perS))}`, spark: perS,
    },
    value("avg", "Average value", "Mean of the field value over the range; events without one are left out.", totals?.count ? `${trimmed(compact(totals.min))} … ${trimmed(compact(totals.max))}` : ""),
    value("p50", "P50", "The median: half of the values in the range are at or below it. Within 1.1 % of the true one.", now("p50")),
    value("p95", "P95", "95 of 100 values in the range are at or below it. Within 1.1 % of the true one.", now("p95")),
    value("p99", "P99", "99 of 100 values in the range are at or below it: the slow or large end. Within 1.1 %.", now("p99")),
  ];
}
