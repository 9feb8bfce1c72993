// @ts-check
/** What stands where there are no numbers: nothing in the range, or nothing yet. */
import { duration, exact } from "../format.js";
import { html } from "../html.js";
import { covering } from "../range.js";

/** @typedef {{store: import("../state.js").Store, actions: any}} Props */

/** The minutes before an arrival that are shown with it. */
const BEFORE_MS = 14 * 60_000;
const AFTER_MS = 60_000;

/** Said in the first chart when nothing happened in the range, although there is data: what removed it, and the ways out.
 * @param {Props} props */
export function NothingInRange({ store, actions }) {
  const state = store.state.value;
  if (state === null || store.loading.value || state.totals.events.count !== 0 || state.total_events === 0) return null;
  const { range, extent } = state;
  const filter = store.filter.value;
  const now = store.now.value;
  const { stretch } = store.times.value;
  const inside = extent !== null && extent.from < range.to && extent.to > range.from;
  return html`
    <section class="nothing is-inside" role="status" aria-label="No events">
      <h2>${filter === null ? "No events in this range" : html`No <code>${filter}</code> events in this range`}</h2>
      <p>Nothing${filter === null ? "" : " of this type"} happened between<br /><span class="stretch">${stretch(range.from, range.to, now)}.</span></p>
      ${extent !== null && !inside && html`
        <p>There are ${exact(state.total_events)} events${ago(extent.to, now)}:<br /><span class="stretch">${stretch(extent.from, extent.to, now)}</span></p>`}
      <div class="nothing-actions">
        ${extent !== null && !inside && html`<button class="primary" onClick=${() => actions.go({ choice: covering(extent) })}>Jump to the data</button>`}
        ${filter !== null && html`<button onClick=${() => actions.go({ filter: null })}>Clear the filter</button>`}
      </div>
    </section>`;
}

/** Said in a chart of processing latency without any: it belongs to the time of arrival, which is another one for history.
 * @param {Props} props */
export function NothingReceived({ store, actions }) {
  const state = store.state.value;
  if (state === null) return null;
  const arrivals = Object.values(state.sources ?? {}).flatMap(({ last_ms: lastMs }) => (lastMs === null ? [] : [lastMs]));
  const last = Math.max(...arrivals);
  const elsewhere = arrivals.length > 0 && (last < state.range.from || last >= state.range.to);
  return html`
    <p>Nothing was received in this time. Latency belongs to the moment when an event arrives, not to the one when it happened.</p>
    ${elsewhere && html`<button onClick=${() => actions.go({ choice: { from: last - BEFORE_MS, to: last + AFTER_MS } })}>Show the last arrivals</button>`}`;
}

/** The shape of the page, before its first numbers. */
export function Skeleton() {
  return html`
    <main class="page skeleton" aria-busy="true" aria-label="Loading">
      <div class="tiles">${[1, 2, 3, 4, 5, 6].map((key) => html`<div class="tile" key=${key}></div>`)}</div>
      <div class="charts has-heat"><div class="panel at-rate"></div><div class="panel at-top"></div>
        <div class="panel at-values"></div><div class="panel at-latency"></div><div class="panel at-heat"></div></div>
      <div class="panel pipeline"></div>
    </main>`;
}

/** @param {number} ms @param {number} now */
function ago(ms, now) {
  return now > ms ? `, the last one ${duration(now - ms)} ago` : "";
}
