// @ts-check
/** What the page says when it is not simply live: held, cut off, restarting, refused, empty, still loading. */
import { clock, duration, exact, signed, stretch } from "../format.js";
import { html } from "../html.js";
import { covering } from "../range.js";

/** @typedef {{store: import("../state.js").Store, actions: any}} Props */

/** Which strip there is, the most urgent one first; null for none. @param {import("../state.js").Store} store
 * @returns {keyof typeof STRIPS | null} */
export function stripKind(store) {
  const link = store.link.value;
  if (link === "refused" || link === "reconnecting" || link === "draining") return link;
  return store.held.value === null ? null : "held";
}

/** One line about what is not as usual. @param {Props & {kind: keyof typeof STRIPS}} props */
export function Strip({ kind, store, actions }) {
  return html`<${STRIPS[kind]} store=${store} actions=${actions} />`;
}

const STRIPS = { refused: Refused, reconnecting: Reconnecting, draining: Draining, held: Held };

/** @param {Props} props */
function Refused({ store }) {
  return html`<div class="strip is-critical" role="alert"><b>■ The server does not show this view.</b><span>${store.session.value.reason}</span></div>`;
}

/** @param {Props} props */
function Reconnecting({ store, actions }) {
  const { latest, attempt } = store.session.value;
  return html`
    <div class="strip is-warning" role="alert">
      <b>▲ Reconnecting…</b>${latest !== null && html`<span>data as of ${clock(latest.as_of)}</span>`}
      ${attempt > 0 && html`<span>(attempt ${attempt})</span>`}
      <button onClick=${() => actions.retryNow()}>Retry now</button>
    </div>`;
}

/** @param {Props} props */
function Draining({ store }) {
  const { since, retryMs } = store.session.value;
  const left = since + retryMs - store.now.value;
  const when = left > 500 ? `in ${Math.ceil(left / 1000)} s` : "in a moment";
  return html`<div class="strip is-calm" role="status"><b>◌ Server restarting,</b><span>your view will resume ${when}</span></div>`;
}

/** @param {Props} props */
function Held({ store }) {
  const held = store.held.value;
  if (held === null) return null;
  return html`
    <div class="strip is-held">
      <b>Paused at ${clock(held.at)}</b><span>·</span><span>${signed(store.heldBack.value)} new</span>
      <button onClick=${() => store.togglePause()}>Resume <kbd>Space</kbd></button>
    </div>`;
}

/** Said over the charts when nothing happened in the range, although there is data. @param {Props} props */
export function NothingInRange({ store, actions }) {
  const state = store.state.value;
  if (state === null || store.loading.value || state.totals.events.count !== 0 || state.total_events === 0) return null;
  const { range, extent } = state;
  const now = store.now.value;
  return html`
    <div class="nothing" role="status">
      <h2>No events in this range</h2>
      <p>Nothing happened between ${stretch(range.from, range.to, now)}.</p>
      ${extent !== null && html`
        <p>There are ${exact(state.total_events)} events${ago(extent.to, now)}:<br />${stretch(extent.from, extent.to, now)}</p>
        <button class="primary" onClick=${() => actions.chooseRange(covering(extent))}>Jump to the data</button>`}
    </div>`;
}

/** The shape of the page, before its first numbers. */
export function Skeleton() {
  return html`
    <main class="page skeleton" aria-busy="true" aria-label="Loading">
      <div class="tiles">${[1, 2, 3, 4, 5, 6].map((key) => html`<div class="tile" key=${key}></div>`)}</div>
      <div class="charts"><div class="panel chart-panel"></div><div class="panel top-list"></div>
        <div class="panel chart-panel"></div><div class="panel chart-panel"></div></div>
    </main>`;
}

/** @param {number} ms @param {number} now */
function ago(ms, now) {
  return now > ms ? `, the last one ${duration(now - ms)} ago` : "";
}
