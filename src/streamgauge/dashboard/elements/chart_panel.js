// @ts-check
/** A panel with one chart over time, its legend, and the same as a table. */
import { useSignal } from "@preact/signals";
import { latestOf } from "../derive.js";
import { html } from "../html.js";
import { bucketWords } from "./bucket_words.js";
import { DataTable } from "./data_table.js";
import { PanelHead } from "./panel_head.js";
import { Plot } from "./plot.js";

/**
 * @typedef {object} ChartPanelProps
 * @property {import("../state.js").Store} store
 * @property {any} actions
 * @property {string} id
 * @property {string} title
 * @property {string} hint
 * @property {number[]} times  seconds
 * @property {import("../types.js").Curve[]} curves
 * @property {any} [nothing]  what is said where no curve has a value
 * @property {boolean} [stacked]
 * @property {boolean} [fromZero]
 * @property {(value: number | null) => string} format
 * @property {(value: number | null) => string} formatExact
 *
 * @typedef {import("@preact/signals").Signal<import("./plot.js").Place | null>} Cursor
 */

/** @param {ChartPanelProps} props */
export function ChartPanel(props) {
  const { store, actions, id, title, hint, curves, times, nothing, stacked, fromZero, format, formatExact } = props;
  const cursor = useSignal(/** @type {import("./plot.js").Place | null} */ (null));
  const asTable = store.tables.value.has(id);
  const isBlank = nothing !== undefined && curves.every(({ values }) => values.every((value) => value === null));
  const looks = [stacked, ...curves.map(({ label, colour }) => `${label} ${colour}`)].join("\n");
  /** @param {import("./plot.js").Place} place */
  const describe = ({ index }) => {
    const values = curves.map(({ label, values: column }) => `${label} ${formatExact(column[index] ?? null)}`);
    return [bucketWords(store, times[index]), ...values].join(", ");
  };
  return html`
    <section class="panel chart-panel ${isBlank ? "is-blank" : ""}" aria-label=${title} data-panel=${id}>
      <${PanelHead} ...${{ store, title, hint }}>
        ${!asTable && !isBlank && html`<${CursorTime} ...${{ store, cursor, times }} />`}
        <${TableButton} ...${{ store, id, asTable, title }} /><${AloneButton} ...${{ store, actions, id, title }} />
      <//>
      ${asTable
        ? html`<${DataTable} ...${{ store, times, curves }} caption=${title} format=${formatExact} />`
        : html`
          <${Legend} ...${{ store, curves, cursor, format, formatExact }} />
          <${Plot} ...${{ store, actions, title, looks, cursor, describe }} columns=${[times, ...curves.map(({ values, drawn }) => drawn ?? values)]}
            options=${{ curves, stacked: stacked === true && curves.length > 0, fromZero: fromZero === true, format }} />`}
      ${isBlank && html`<div class="blank">${nothing}</div>`}
    </section>`;
}

/** @param {{store: import("../state.js").Store, id: string, asTable: boolean, title: string}} props */
export function TableButton({ store, id, asTable, title }) {
  const word = asTable ? "Chart" : "Table";
  return html`
    <button class="quiet" aria-label="${word}: ${title}" title="${word} (t)" onClick=${() => store.toggleTables([id])}>${word}</button>`;
}

/** @param {{store: import("../state.js").Store, actions: any, id: string, title: string}} props */
export function AloneButton({ store, actions, id, title }) {
  const alone = store.panel.value === id;
  const words = alone ? "All panels" : "Alone";
  return html`
    <button class="quiet alone" aria-label="${words}: ${title}" title="${words} (f)" aria-pressed=${alone} onClick=${() => actions.go({ panel: alone ? null : id })}>${alone ? "✕" : "⤢"}</button>`;
}

/** The bucket under the cursor, or else what the numbers of a fixed range are. @param {{store: import("../state.js").Store, cursor: Cursor, times: number[]}} props */
function CursorTime({ store, cursor, times }) {
  const at = cursor.value;
  const resting = isFixed(store) ? "over the range" : "";
  return html`<span class="cursor-time">${at === null ? resting : bucketWords(store, times[at.index])}</span>`;
}

/** @param {import("../state.js").Store} store */
function isFixed(store) {
  return store.state.value?.range.live === false;
}

/** The names of the curves with their values at the cursor, or else the newest; in a fixed range, those of all of it.
 * @param {Pick<ChartPanelProps, "store" | "curves" | "format" | "formatExact"> & {cursor: Cursor}} props */
function Legend({ store, curves, cursor, format, formatExact }) {
  const at = cursor.value;
  return html`
    <ul class="legend">
      ${curves.map((curve) => {
        const resting = isFixed(store) && curve.whole !== undefined ? curve.whole : latestOf(curve.values);
        const value = (at === null ? resting : curve.values[at.index]) ?? null;
        return html`
          <li key=${curve.label} title="${curve.label}: ${formatExact(value)}">
            <i class="swatch" style=${{ background: `var(${curve.colour})` }}></i>
            <span class="legend-name">${curve.label}</span><b>${format(value)}</b>
          </li>`;
      })}
    </ul>`;
}
