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
 * @property {boolean} [stacked]
 * @property {boolean} [fromZero]
 * @property {(value: number | null) => string} format
 * @property {(value: number | null) => string} formatExact
 *
 * @typedef {import("@preact/signals").Signal<import("./plot.js").Place | null>} Cursor
 */

/** @param {ChartPanelProps} props */
export function ChartPanel(props) {
  const { store, actions, id, title, hint, curves, times, stacked, fromZero, format, formatExact } = props;
  const cursor = useSignal(/** @type {import("./plot.js").Place | null} */ (null));
  const asTable = store.tables.value.has(id);
  const looks = [stacked, ...curves.map(({ label, colour }) => `${label} ${colour}`)].join("\n");
  /** @param {import("./plot.js").Place} place */
  const describe = ({ index }) => {
    const values = curves.map(({ label, values: column }) => `${label} ${formatExact(column[index] ?? null)}`);
    return [bucketWords(store, times[index]), ...values].join(", ");
  };
  return html`
    <section class="panel chart-panel" aria-label=${title}>
      <${PanelHead} ...${{ store, title, hint }}>
        ${!asTable && html`<${CursorTime} ...${{ store, cursor, times }} />`}
        <${TableButton} ...${{ store, id, asTable, title }} />
      <//>
      ${asTable
        ? html`<${DataTable} ...${{ store, times, curves }} caption=${title} format=${formatExact} />`
        : html`
          <${Legend} ...${{ curves, cursor, format, formatExact }} />
          <${Plot} ...${{ store, actions, title, looks, cursor, describe }} columns=${[times, ...curves.map(({ values, drawn }) => drawn ?? values)]}
            options=${{ curves, stacked: stacked === true && curves.length > 0, fromZero: fromZero === true, format }} />`}
    </section>`;
}

/** @param {{store: import("../state.js").Store, id: string, asTable: boolean, title: string}} props */
export function TableButton({ store, id, asTable, title }) {
  const word = asTable ? "Chart" : "Table";
  return html`
    <button class="quiet" aria-label="${word}: ${title}" title="${word} (t)" onClick=${() => store.toggleTables([id])}>${word}</button>`;
}

/** The bucket under the cursor. @param {{store: import("../state.js").Store, cursor: Cursor, times: number[]}} props */
function CursorTime({ store, cursor, times }) {
  const at = cursor.value;
  return html`<span class="cursor-time">${at === null ? "" : bucketWords(store, times[at.index])}</span>`;
}

/** The names of the curves with their values at the cursor, or else the newest.
 * @param {Pick<ChartPanelProps, "curves" | "format" | "formatExact"> & {cursor: Cursor}} props */
function Legend({ curves, cursor, format, formatExact }) {
  const at = cursor.value;
  return html`
    <ul class="legend">
      ${curves.map((curve) => {
        const value = (at === null ? latestOf(curve.values) : curve.values[at.index]) ?? null;
        return html`
          <li key=${curve.label} title="${curve.label}: ${formatExact(value)}">
            <i class="swatch" style=${{ background: `var(${curve.colour})` }}></i>
            <span class="legend-name">${curve.label}</span><b>${format(value)}</b>
          </li>`;
      })}
    </ul>`;
}
