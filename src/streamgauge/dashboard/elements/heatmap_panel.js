// @ts-check
/** How processing latency is spread over time: a cell for each bucket and band, its colour says how many. */
import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { resolved } from "../chart_options.js";
import { compact, exact } from "../format.js";
import { bandWords, heatModel, paintHeat } from "../heatmap.js";
import { html } from "../html.js";
import { isDark, ramp } from "../ramp.js";
import { bucketWords } from "./bucket_words.js";
import { AloneButton, TableButton } from "./chart_panel.js";
import { DataTable } from "./data_table.js";
import { NothingReceived } from "./empty.js";
import { PanelHead } from "./panel_head.js";
import { Plot } from "./plot.js";

const ID = "heatmap";
const TITLE = "Latency heatmap";
const HINT = "How many events took how long, from received to counted: the higher the cell the slower, the stronger its colour the more events.";
/** The frame draws no curve of its own. */
const CURVES = Object.freeze([{ label: "bands", colour: "--ink-faint" }]);
const LEGEND_STOPS = 12;

/** @typedef {import("../heatmap.js").HeatModel} HeatModel */

/** @param {{store: import("../state.js").Store, actions: any, times: number[]}} props  times in seconds */
export function HeatmapPanel({ store, actions, times }) {
  const state = store.state.value;
  const heatmap = state?.heatmap;
  const cursor = useSignal(/** @type {import("./plot.js").Place | null} */ (null));
  const stepMs = state?.range.step_ms ?? 1000;
  const model = useMemo(() => heatModel(heatmap ?? { bounds_ms: [], columns: [] }, stepMs), [heatmap, stepMs]);
  const asTable = store.tables.value.has(ID);
  const colours = useColours(store);
  /** @param {import("./plot.js").Place} place */
  const describe = (place) => `${bucketWords(store, times[place.index])}, ${cellWords(model, place) ?? "no band"}`;
  return html`
    <section class="panel chart-panel heatmap ${model.most === 0 ? "is-blank" : ""}" aria-label=${TITLE} data-panel=${ID}>
      <${PanelHead} store=${store} title=${TITLE} hint=${HINT}>
        <${TableButton} ...${{ store, asTable }} id=${ID} title=${TITLE} /><${AloneButton} ...${{ store, actions }} id=${ID} title=${TITLE} />
      <//>
      ${asTable
        ? html`<${DataTable} ...${{ store, times }} caption=${TITLE} curves=${bandCurves(model)} format=${exact} />`
        : html`
          <${Legend} ...${{ store, model, cursor, times, colours }} />
          <${Picture} ...${{ store, actions, times, model, colours, cursor, describe }} />`}
      ${model.most === 0 && html`<div class="blank"><${NothingReceived} ...${{ store, actions }} /></div>`}
    </section>`;
}

/** @param {any} props */
function Picture({ store, actions, times, model, colours, cursor, describe }) {
  // the painter outlives a picture: it reads the newest
  const newest = useRef({ model, colours });
  newest.current = { model, colours };
  const floor = useMemo(() => times.map(() => 0), [times]);
  const options = {
    curves: CURVES, format: String, stepS: model.stepS,
    bands: () => newest.current.model,
    paint: (/** @type {any} */ plot) => paintHeat(plot, newest.current.model, newest.current.colours),
  };
  return html`
    <${Plot} ...${{ store, actions, options, cursor, describe }} title=${TITLE} looks=${`${model.stepS}`} columns=${[times, floor]} painted=${model} />`;
}

/** @param {import("../state.js").Store} store @returns {string[]} */
function useColours(store) {
  const look = store.colours.value;
  return useMemo(() => ramp(isDark(resolved(document.body, "--surface"))), [look]);
}

/** The scale of colours, and beside it what is under the cursor. @param {any} props */
function Legend({ store, model, cursor, times, colours }) {
  const place = cursor.value;
  const words = place === null ? null : cellWords(model, place);
  const stops = Array.from({ length: LEGEND_STOPS }, (_, stop) => colours[Math.round((stop / (LEGEND_STOPS - 1)) * (colours.length - 1))]);
  return html`
    <p class="legend heat-legend">
      <span>1</span><i class="heat-scale" style=${{ background: `linear-gradient(90deg, ${stops.join(", ")})` }}></i><span>${compact(Math.max(model.most, 1))} events</span>
      <span class="cursor-time">${place !== null && words !== null ? `${bucketWords(store, times[place.index])} · ${words}` : ""}</span>
    </p>`;
}

/** @param {HeatModel} model @param {import("./plot.js").Place} place @returns {string | null} */
function cellWords(model, { index, height }) {
  if (height === null) return null;
  const row = Math.min(model.rows.length - 1, Math.max(0, Math.floor(height)));
  if (model.rows[row] === undefined) return null;
  const count = model.rows[row][index] ?? null;
  return `${bandWords(model, row)}: ${count === null ? "no data" : exact(count)}`;
}

/** @param {HeatModel} model @returns {import("../types.js").Curve[]} */
function bandCurves(model) {
  return model.rows.map((values, row) => ({ label: bandWords(model, row), colour: "", values }));
}
