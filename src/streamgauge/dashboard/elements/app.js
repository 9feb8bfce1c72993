// @ts-check
/** The page: chooses between loading, the first run and the overview. */
import { clock, stretch } from "../format.js";
import { html } from "../html.js";
import { PRESETS } from "../range.js";
import { LatencyChart, RateChart, ValueChart } from "./charts.js";
import { Dialogues } from "./dialogues.js";
import { FirstRun } from "./first_run.js";
import { Ledger } from "./ledger.js";
import { NothingInRange, Skeleton, Strip, stripKind } from "./states.js";
import { Tiles } from "./tiles.js";
import { TopBar } from "./top_bar.js";
import { TopList } from "./top_list.js";

/** The panels that can be shown as tables. */
export const CHARTS = Object.freeze(["rate", "values", "latency"]);

/** @param {{store: import("../state.js").Store, actions: any}} props */
export function App({ store, actions }) {
  const { link, loading } = store;
  const stale = link.value === "reconnecting" && store.session.value.latest !== null;
  return html`
    <div class="app ${stale ? "is-stale" : ""} ${loading.value ? "is-loading" : ""}">
      <${TopBar} store=${store} actions=${actions} />
      <${Line} store=${store} actions=${actions} />
      <${Page} store=${store} actions=${actions} />
      <${Dialogues} store=${store} />
    </div>`;
}

/** @param {{store: import("../state.js").Store, actions: any}} props */
function Page({ store, actions }) {
  const state = store.state.value;
  if (state === null) return html`<${Skeleton} />`;
  if (state.total_events === 0) return html`<${FirstRun} store=${store} />`;
  const empty = state.totals.events.count === 0;
  return html`
    <main class="page">
      <${Tiles} store=${store} />
      <div class="charts ${empty ? "is-empty" : ""}">
        <${RateChart} store=${store} actions=${actions} />
        <${TopList} store=${store} />
        <${ValueChart} store=${store} actions=${actions} />
        <${LatencyChart} store=${store} actions=${actions} />
        <${NothingInRange} store=${store} actions=${actions} />
      </div>
      <${Ledger} store=${store} />
    </main>`;
}

/** The range in words, or, in the same place, what is more urgent. @param {{store: import("../state.js").Store, actions: any}} props */
function Line({ store, actions }) {
  const strip = stripKind(store);
  const state = store.state.value;
  if (strip !== null) return html`<div class="line"><${Strip} kind=${strip} store=${store} actions=${actions} /></div>`;
  if (state === null || state.total_events === 0) return html`<div class="line"><div class="line-words"></div></div>`;
  const { range, as_of: asOf } = state;
  return html`
    <div class="line"><div class="line-words">
      <span><b>${rangeWords(range)}</b>${stretch(range.from, range.to, store.now.value)} · steps of ${stepWords(range.step_ms)}</span>
      <span>as of ${clock(asOf)} · times in ${Intl.DateTimeFormat().resolvedOptions().timeZone}</span>
    </div></div>`;
}

/** @param {import("../types.js").Range} range */
function rangeWords(range) {
  const words = PRESETS.find(({ name }) => name === range.preset)?.words;
  return words === undefined ? "" : `${words[0].toUpperCase()}${words.slice(1)} · `;
}

/** @param {number} ms */
function stepWords(ms) {
  return ms < 60_000 ? `${ms / 1000} s` : ms < 3_600_000 ? `${ms / 60_000} min` : `${ms / 3_600_000} h`;
}
