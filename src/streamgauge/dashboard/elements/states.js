// @ts-check
/** What the page says when it is not simply live: held, cut off, restarting, refused, caught up, just begun. */
import { exact, signed } from "../format.js";
import { html } from "../html.js";
import { DEFAULT_PRESET } from "../range.js";

/** @typedef {{store: import("../state.js").Store, actions: any}} Props */

/** Which strip there is, the most urgent one first; null for none. @param {import("../state.js").Store} store
 * @returns {keyof typeof STRIPS | null} */
export function stripKind(store) {
  const link = store.link.value;
  // without any data the page itself says it
  if (link === "refused" && store.state.value === null) return null;
  if (link === "refused" || link === "reconnecting" || link === "draining") return link;
  if (store.standing.value === "paused") return "paused";
  if (store.gap.value !== null) return "resumed";
  return store.firstJustCame.value ? "first" : null;
}

/** One line about what is not as usual. @param {Props & {kind: keyof typeof STRIPS}} props */
export function Strip({ kind, store, actions }) {
  return html`<${STRIPS[kind]} store=${store} actions=${actions} />`;
}

const STRIPS = { refused: Refused, reconnecting: Reconnecting, draining: Draining, paused: Paused, resumed: Resumed, first: First };

/** @param {Props} props */
function Refused({ store, actions }) {
  return html`
    <div class="strip is-critical" role="alert">
      <b>■ The server does not show this view.</b><span>${store.session.value.reason}</span>
      <button onClick=${() => actions.refresh()}>Retry</button>
    </div>`;
}

/** @param {Props} props */
function Reconnecting({ store, actions }) {
  const { latest, attempt } = store.session.value;
  return html`
    <div class="strip is-warning">
      <b role="alert">▲ Reconnecting…</b>${latest !== null && html`<span>data as of ${store.times.value.clock(latest.as_of)}</span>`}
      ${attempt > 0 && html`<span>(attempt ${attempt})</span>`}
      <button onClick=${() => actions.retryNow()}>Retry now</button>
    </div>`;
}

/** @param {Props} props */
function Draining({ store }) {
  const { since, retryMs } = store.session.value;
  const left = since + retryMs - store.now.value;
  const when = left > 500 ? `in ${Math.ceil(left / 1000)} s` : "in a moment";
  return html`<div class="strip is-calm"><b role="status">◌ Server restarting,</b><span>your view will resume ${when}</span></div>`;
}

/** @param {Props} props */
function Paused({ store }) {
  const held = store.held.value;
  if (held === null) return null;
  return html`
    <div class="strip is-held">
      <b>Paused at ${store.times.value.clock(held.at)}</b><span>·</span><span>${signed(store.heldBack.value)} new</span>
      <button onClick=${() => store.togglePause()}>Resume <kbd>Space</kbd></button>
    </div>`;
}

/** @param {Props} props */
function Resumed({ store }) {
  const gap = store.gap.value;
  if (gap === null) return null;
  const { clock } = store.times.value;
  return html`
    <div class="strip is-calm" role="status">
      <b><i class="hatch-key" aria-hidden="true"></i>Connected again.</b><span>${clock(gap.from)} – ${clock(gap.to)} was not received as it happened; it is filled in from the server</span>
    </div>`;
}

/** @param {Props} props */
function First({ store }) {
  const state = store.state.value;
  const type = state?.tail?.[0]?.type ?? Object.keys(state?.types ?? {})[0];
  return html`
    <div class="strip is-good" role="status">
      <b>● The first event is here${type === undefined ? "" : `: ${type}`}</b><span>this is your overview; it changes while you watch</span>
    </div>`;
}

/** Instead of the page, when the server has refused it from the start. @param {Props} props */
export function RefusedPage({ store, actions }) {
  return html`
    <main class="refused-page">
      <section class="nothing" role="alert" aria-label="The server does not show this view">
        <h2>■ The server does not show this view</h2>
        <p>${store.session.value.reason}</p>
        <div class="nothing-actions">
          <button class="primary" onClick=${() => actions.refresh()}>Retry</button>
          <button onClick=${() => actions.go({ choice: { preset: DEFAULT_PRESET }, filter: null })}>Show the last 15 minutes</button>
        </div>
      </section>
    </main>`;
}

/** That the data is made up, and how to leave it. @param {{store: import("../state.js").Store}} props */
export function DemoNote({ store }) {
  const state = store.state.value;
  if (!state?.demo) return null;
  return html`
    <span class="demo-note"><b>Demo</b> · made-up events
      <button class="demo" title="${exact(state.total_events)} made-up events so far" onClick=${() => { store.dialogue.value = "own-data"; }}>Stop and use my own data</button>
    </span>`;
}
