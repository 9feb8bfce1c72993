// @ts-check
/** The page: chooses between the sources, the dead letters, and the overview: loading, refused, the first run, itself. */
import { html } from "../html.js";
import { LatencyChart, RateChart, useTimes, ValueChart } from "./charts.js";
import { Dialogues } from "./dialogues.js";
import { NothingInRange, Skeleton } from "./empty.js";
import { FirstRun } from "./first_run.js";
import { HeatmapPanel } from "./heatmap_panel.js";
import { later } from "./later.js";
import { Ledger } from "./ledger.js";
import { Line } from "./line.js";
import { PipelineStrip } from "./pipeline.js";
import { Sources } from "./sources.js";
import { RefusedPage } from "./states.js";
import { Tail } from "./tail.js";
import { Tiles } from "./tiles.js";
import { TopBar } from "./top_bar.js";
import { TopList } from "./top_list.js";

/** Values that nothing has confirmed for so long are greyed. */
const OLD_MS = 60_000;

/** @typedef {{store: import("../state.js").Store, actions: any}} Props */

const SourcesPage = later(() => import("./sources_page.js").then((found) => found.SourcesPage), "The page of sources");
const DeadLettersPage = later(() => import("./dead_letters_page.js").then((found) => found.DeadLettersPage), "The page of dead letters");
/** Fetch what the overview does not need, so that the other pages are there when they are asked for. */
export const fetchOtherPages = () => [SourcesPage, DeadLettersPage].forEach((page) => page.fetch());

/** @param {Props} props */
export function App({ store, actions }) {
  const { link, loading, silence, standing } = store;
  const looks = [
    link.value === "reconnecting" && store.state.value !== null && "is-stale",
    loading.value && store.place.value.page === "overview" && "is-loading",
    (silence.value ?? 0) > OLD_MS && standing.value !== "paused" && "is-old",
  ];
  return html`
    <div class="app ${looks.filter(Boolean).join(" ")}">
      <${TopBar} store=${store} actions=${actions} />
      <${Line} store=${store} actions=${actions} />
      <${Page} store=${store} actions=${actions} />
      <${Dialogues} store=${store} actions=${actions} />
    </div>`;
}

/** @param {Props} props */
function Page({ store, actions }) {
  const { page } = store.place.value;
  if (page === "sources") return html`<${SourcesPage} store=${store} />`;
  if (page === "dead-letters") return html`<${DeadLettersPage} ...${{ store, actions }} />`;
  const state = store.state.value;
  if (state === null) return store.link.value === "refused" ? html`<${RefusedPage} ...${{ store, actions }} />` : html`<${Skeleton} />`;
  return state.total_events === 0 ? html`<${FirstRun} store=${store} />` : html`<${Overview} ...${{ store, actions }} />`;
}

/** @param {Props} props */
function Overview({ store, actions }) {
  const state = store.state.value;
  const times = useTimes(state);
  if (state === null) return null;
  const given = { store, actions, times };
  const heat = state.heatmap !== undefined;
  const alone = store.panel.value === "heatmap" && !heat ? null : store.panel.value;
  const cell = (/** @type {string} */ id) => `at-${id === "heatmap" ? "heat" : id} ${id === alone ? "is-alone" : ""}`;
  return html`
    <main class="page ${alone === null ? "" : "has-one"}" tabindex="-1">
      <h1 class="unseen">Overview</h1>
      <${Tiles} store=${store} />
      <div class="charts ${state.totals.events.count === 0 ? "is-empty" : ""} ${heat ? "has-heat" : ""}">
        <div class=${cell("rate")}><${RateChart} ...${given} /><${NothingInRange} ...${given} /></div>
        <div class="at-top"><${TopList} ...${given} /></div>
        <div class=${cell("values")}><${ValueChart} ...${given} /></div>
        <div class=${cell("latency")}><${LatencyChart} ...${given} /></div>
        ${heat && html`<div class=${cell("heatmap")}><${HeatmapPanel} ...${given} /></div>`}
      </div>
      <${PipelineStrip} store=${store} />
      <div class="lower ${state.tail === undefined || state.sources === undefined ? "is-single" : ""}">
        <${Tail} store=${store} /><${Sources} store=${store} />
      </div>
      <${Ledger} store=${store} />
    </main>`;
}
