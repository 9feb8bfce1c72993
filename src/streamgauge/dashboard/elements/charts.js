// @ts-check
/** The charts of the overview: which curves, in which colours and units. */
import { useMemo, useRef } from "preact/hooks";
import { meanOf, perSecond, stackedRates, stackOrder, timesInSeconds } from "../derive.js";
import { compact, duration, exact, steady, thousandths } from "../format.js";
import { html } from "../html.js";
import { atPace, paceOf } from "../pace.js";
import { ChartPanel } from "./chart_panel.js";
import { NothingReceived } from "./empty.js";

const NO_VALUES = html`<p>No event in this range has a number in the field that is measured.</p>`;

/** @typedef {{store: import("../state.js").Store, actions: any, times: number[]}} Props  times in seconds */

/** Buckets of the state, as seconds, made once for all states that share them. @param {import("../types.js").State | null} state */
export function useTimes(state) {
  return useMemo(() => (state === null ? [] : timesInSeconds(state)), [state?.time]);
}

/** @param {Props} props */
export function RateChart({ store, actions, times }) {
  const state = store.state.value;
  const slots = store.slots.value;
  const order = useRef(/** @type {string[]} */ ([]));
  const { curves, pace } = useMemo(() => {
    const pace = paceOf(state);
    if (state === null) return { curves: [], pace };
    order.current = stackOrder(order.current, state);
    const colourOf = (/** @type {string} */ type) => `--series-${slots.get(type) ?? "other"}`;
    const curves = stackedRates(state, order.current, colourOf, (counts) => atPace(perSecond(state, counts), pace));
    return { curves: curves.map((one) => ({ ...one, whole: meanOf(one.values) })), pace };
  }, [state, slots]);
  return html`<${ChartPanel} ...${{ store, actions, times, curves }} id="rate" title="Events per ${pace.word}" stacked fromZero
    hint="How many events happened in each ${pace.word} of the range, by type; the six most frequent, and the rest together."
    format=${steady} formatExact=${thousandths} />`;
}

/** @param {Props} props */
export function ValueChart({ store, actions, times }) {
  const series = store.state.value?.series;
  const curves = percentiles([series?.p50, series?.p95, series?.p99], store.state.value?.totals.events);
  return html`<${ChartPanel} ...${{ store, actions, curves, times }} id="values" title="Value percentiles"
    hint="How the field value is spread in each step: half of the values are at or below P50, 95 of 100 below P95, 99 below P99."
    nothing=${NO_VALUES}
    format=${compact} formatExact=${exact} />`;
}

/** @param {Props} props */
export function LatencyChart({ store, actions, times }) {
  const series = store.state.value?.series;
  const curves = percentiles([series?.latency_p50, series?.latency_p95, series?.latency_p99], store.state.value?.totals.latency);
  return html`<${ChartPanel} ...${{ store, actions, curves, times }} id="latency" title="Processing latency" fromZero
    hint="From the moment the server received an event to the moment it was counted in these charts."
    nothing=${html`<${NothingReceived} ...${{ store, actions }} />`}
    format=${duration} formatExact=${duration} />`;
}

/** @param {(import("../types.js").Column | undefined)[]} columns of P50, P95 and P99
 * @param {import("../types.js").Totals | undefined} totals @returns {import("../types.js").Curve[]} */
function percentiles([p50 = [], p95 = [], p99 = []], totals) {
  return [
    { label: "P50", colour: "--series-1", values: p50, whole: totals?.p50 },
    { label: "P95", colour: "--series-2", values: p95, whole: totals?.p95 },
    { label: "P99", colour: "--series-4", values: p99, whole: totals?.p99 },
  ];
}
