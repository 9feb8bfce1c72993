// @ts-check
/** The line below the top bar: the range in words, or, in the same place, what is more urgent. */
import { stepWords } from "../format.js";
import { html } from "../html.js";
import { PRESETS } from "../range.js";
import { DemoNote, Strip, stripKind } from "./states.js";

/** @param {{store: import("../state.js").Store, actions: any}} props */
export function Line({ store, actions }) {
  const strip = stripKind(store);
  const state = store.state.value;
  if (strip !== null) return html`<div class="line" role="region" aria-label="State and range"><${Strip} kind=${strip} store=${store} actions=${actions} /></div>`;
  if (store.place.value.page !== "overview") return html`<div class="line"><div class="line-words is-empty"></div></div>`;
  if (state === null || state.total_events === 0) return html`<div class="line"><div class="line-words"></div></div>`;
  const { range, as_of: asOf } = state;
  const { clock, stretch, zone, utc } = store.times.value;
  return html`
    <div class="line" role="region" aria-label="State and range"><div class="line-words">
      <span class="line-range"><b>${rangeWords(range)}</b>${stretch(range.from, range.to, store.now.value)} · steps of ${stepWords(range.step_ms)}</span>
      <${DemoNote} store=${store} />
      <span class="line-zone">as of ${clock(asOf)} ·
        <button class="quiet" title="Write all times in ${utc ? "the zone of this browser" : "UTC"}" onClick=${() => actions.go({ utc: !utc })}>times in ${zone}</button></span>
    </div></div>`;
}

/** @param {import("../types.js").Range} range */
function rangeWords(range) {
  const words = PRESETS.find(({ name }) => name === range.preset)?.words;
  return words === undefined ? "" : `${words[0].toUpperCase()}${words.slice(1)} · `;
}

