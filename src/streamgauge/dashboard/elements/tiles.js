// @ts-check
/** The six numbers on top: how fast, how large, how many, and what went wrong. */
import { comparable, failedShare, latestOf, peakOf, perSecond, runningSum, unaccounted } from "../derive.js";
import { compact, delta, exact, percent, rate, steady } from "../format.js";
import { html } from "../html.js";
import { atPace, paceOf } from "../pace.js";
import { Hint } from "./hint.js";
import { Age } from "./panel_head.js";
import { Sparkline } from "./sparkline.js";

/** @param {{store: import("../state.js").Store}} props */
export function Tiles({ store }) {
  const state = store.state.value;
  return html`
    <section class="tiles" aria-label="Key numbers">
      ${tileProps(state).map((props) => html`<${Tile} key=${props.label} store=${store} ...${props} />`)}
    </section>`;
}

/**
 * @typedef {object} TileProps
 * @property {string} label
 * @property {string} hint
 * @property {string} value
 * @property {string} full  every digit
 * @property {string} note
 * @property {string | null} [change]  against the same span before the range
 * @property {string} [before]  what it was then
 * @property {import("../types.js").Column} [spark]
 * @property {{good: boolean, words: string}} [verdict]  instead of a sparkline
 * @property {boolean} [isBad]  the value is nothing to be glad of
 */

/** @param {TileProps & {store: import("../state.js").Store}} props */
function Tile({ store, label, hint, value, full, note, change, before, spark, verdict, isBad = false }) {
  return html`
    <div class="tile">
      <div class="tile-head">
        <h2>${label} <${Hint} words=${hint} of=${label} /></h2>
        ${store.silence.value === null || store.standing.value === "paused"
          ? change && html`<span class="delta" title="Against the same length of time before: ${before}">${change}</span>`
          : html`<${Age} store=${store} />`}
      </div>
      <div class="tile-row"><b class="tile-value ${isBad ? "is-bad" : ""}" title=${full}>${value}</b><span class="tile-note">${note}</span></div>
      ${verdict !== undefined && store.silence.value !== null ? html`<p class="tile-verdict is-unknown-now">◌ not known now</p>` : verdict === undefined
        ? html`<${Sparkline} values=${spark ?? []} />`
        : html`<p class="tile-verdict ${verdict.good ? "is-good" : "is-bad"}">${verdict.words}</p>`}
    </div>`;
}

/** @param {import("../types.js").State | null} state @returns {TileProps[]} */
function tileProps(state) {
  const within = "of the values in the range are at or below it, within 1.1 %";
  return [
    rateTile(state),
    valueTile(state, "p50", "Value P50", `The median of the field value: half ${within}.`),
    valueTile(state, "p95", "Value P95", `95 in 100 ${within}.`),
    valueTile(state, "p99", "Value P99", `99 in 100 ${within}: the large end.`),
    countTile(state),
    errorTile(state),
  ];
}

/** @param {import("../types.js").State | null} state @returns {TileProps} */
function rateTile(state) {
  const perS = state === null ? [] : perSecond(state, state.series.count ?? []);
  const pace = paceOf(state);
  const at = (/** @type {number | null | undefined} */ perSecond) => atPace([perSecond ?? null], pace)[0];
  const peak = peakOf(perS);
  const mean = state === null ? null : meanRate(state);
  // what is received is not told by type, so under a filter the newest bucket speaks
  const now = state?.filter === undefined ? state?.rate : latestOf(perS);
  const isLive = state === null || state.range.live;
  const shown = isLive ? now : mean;
  const previous = comparable(state);
  return {
    label: `Events${pace.sign}`,
    hint: `Events per ${pace.word}: ${isLive ? "received right now" : "the mean of the range"}; beside it the busiest moment of the range. The change compares the mean of the range with the same length of time before.`,
    value: steady(at(shown)),
    full: `${exact(at(shown))} events per ${pace.word}`,
    note: peak === null ? "" : `peak ${rate(at(peak), pace.sign)}`,
    change: delta(mean, previous?.rate),
    before: `mean ${rate(at(previous?.rate), pace.sign)}, now ${rate(at(mean), pace.sign)}`,
    spark: perS,
  };
}

/** Events per second over the range that has passed. @param {import("../types.js").State} state */
function meanRate({ range, as_of: asOf, totals }) {
  const seconds = (Math.min(range.to, range.live ? asOf : range.to) - range.from) / 1000;
  return seconds > 0 ? (totals.events.count ?? 0) / seconds : null;
}

/** @param {import("../types.js").State | null} state @param {"p50" | "p95" | "p99"} key @param {string} label
 * @param {string} hint @returns {TileProps} */
function valueTile(state, key, label, hint) {
  const total = state?.totals.events[key];
  const previous = comparable(state);
  const before = previous?.events[key];
  const spark = state?.series[key] ?? [];
  const newest = latestOf(spark);
  const note = newest === null ? "" : state?.range.live === false ? `peak ${compact(peakOf(spark))}` : `now ${compact(newest)}`;
  const fresh = previous?.events.count === 0 && total !== null && total !== undefined;
  return { label, hint, note, spark, value: compact(total), full: exact(total), change: fresh ? "new" : delta(total, before), before: exact(before) };
}

/** @param {import("../types.js").State | null} state @returns {TileProps} */
function countTile(state) {
  const totals = state?.totals.events;
  const before = comparable(state)?.events.count;
  return {
    label: "Events",
    hint: "Events in the range; beside it the mean of the field value, where events have one.",
    value: compact(totals?.count),
    full: `${exact(totals?.count)} in the range, ${exact(state?.total_events)} ever`,
    note: totals?.avg === null || totals?.avg === undefined ? "" : `avg value ${compact(totals.avg)}`,
    change: delta(totals?.count, before),
    before: exact(before),
    spark: totals?.count ? runningSum(state?.series.count ?? []) : [],
  };
}

/** @param {import("../types.js").State | null} state @returns {TileProps} */
function errorTile(state) {
  const ledger = state?.ledger;
  const failed = ledger === undefined ? null : ledger.rejected + ledger.dead_lettered;
  const missing = ledger === undefined ? 0 : unaccounted(ledger);
  return {
    label: "Errors",
    hint: "The share of all events ever received that were rejected or could not be processed. Below it: whether the ledger accounts for every event.",
    value: percent(ledger === undefined ? null : failedShare(ledger)),
    full: `${exact(failed)} of ${exact(ledger?.received)}`,
    isBad: (failed ?? 0) > 0,
    note: failed === null ? "" : `${compact(failed)} of ${compact(ledger?.received)}`,
    verdict: missing === 0 ? { good: true, words: failed ? "✓ all accounted for" : "✓ nothing lost" } : { good: false, words: `▲ ${exact(Math.abs(missing))} ${missing > 0 ? "not accounted for" : "counted twice"}` },
  };
}
