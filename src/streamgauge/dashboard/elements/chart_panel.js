// @ts-check
/** A panel with one chart over time, its legend, and the same as a table. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { TimeChart } from "../chart.js";
import { latestOf } from "../derive.js";
import { bucket } from "../format.js";
import { html } from "../html.js";
import { DataTable } from "./data_table.js";
import { Hint } from "./hint.js";

/**
 * @typedef {object} ChartPanelProps
 * @property {import("../state.js").Store} store
 * @property {{chooseRange: (choice: import("../types.js").Choice) => void}} actions
 * @property {string} id
 * @property {string} title
 * @property {string} hint
 * @property {number[]} times  seconds
 * @property {import("../types.js").Curve[]} curves
 * @property {boolean} [stacked]
 * @property {boolean} [fromZero]
 * @property {(value: number | null) => string} format
 * @property {(value: number | null) => string} formatExact
 */

/** @param {ChartPanelProps} props */
export function ChartPanel(props) {
  const { store, id, title, hint, curves, times, format, formatExact } = props;
  const cursor = useSignal(/** @type {number | null} */ (null));
  const state = store.state.value;
  const stepMs = state?.range.step_ms ?? 1000;
  const asTable = store.tables.value.has(id);
  return html`
    <section class="panel chart-panel" aria-label=${title}>
      <header class="panel-head">
        <h2>${title} <${Hint} words=${hint} of=${title} /></h2>
        ${!asTable && html`<${CursorTime} cursor=${cursor} times=${times} stepMs=${stepMs} />`}
        <button class="quiet" aria-pressed=${asTable} onClick=${() => store.toggleTables([id])}
          title="${asTable ? "Chart" : "Table"} (t)">${asTable ? "Chart" : "Table"}</button>
      </header>
      ${asTable
        ? html`<${DataTable} caption=${title} times=${times} stepMs=${stepMs} curves=${curves} format=${formatExact} />`
        : html`<${Legend} ...${{ curves, cursor, format, formatExact }} /><${Plot} ...${{ ...props, cursor, stepMs }} />`}
    </section>`;
}

/** @typedef {import("@preact/signals").Signal<number | null>} Cursor */

/** The bucket under the cursor. @param {{cursor: Cursor, times: number[], stepMs: number}} props */
function CursorTime({ cursor, times, stepMs }) {
  const second = cursor.value === null ? undefined : times[cursor.value];
  return html`<span class="cursor-time">${second === undefined ? "" : bucket(second * 1000, stepMs, Date.now())}</span>`;
}

/** The names of the curves with their values at the cursor, or else the newest.
 * @param {Pick<ChartPanelProps, "curves" | "format" | "formatExact"> & {cursor: Cursor}} props */
function Legend({ curves, cursor, format, formatExact }) {
  const at = cursor.value;
  return html`
    <ul class="legend">
      ${curves.map((curve) => {
        const value = (at === null ? latestOf(curve.values) : curve.values[at]) ?? null;
        return html`
          <li key=${curve.label} title="${curve.label}: ${formatExact(value)}">
            <i class="swatch" style=${{ background: `var(${curve.colour})` }}></i>
            <span class="legend-name">${curve.label}</span><b>${format(value)}</b>
          </li>`;
      })}
    </ul>`;
}

/** @param {ChartPanelProps & {stepMs: number, cursor: Cursor}} props */
function Plot({ store, actions, title, times, curves, stacked, fromZero, format, formatExact, cursor, stepMs }) {
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const chart = useRef(/** @type {TimeChart | null} */ (null));
  const said = useSignal("");
  const looks = [store.colours.value, stacked, ...curves.map(({ label, colour }) => `${label} ${colour}`)].join("\n");

  useEffect(() => {
    const made = new TimeChart(/** @type {HTMLElement} */ (host.current), {
      curves, stacked: stacked === true && curves.length > 0, fromZero: fromZero === true, format,
      onZoom: (from, to) => actions.chooseRange({ from, to }),
      onCursor: (index) => { cursor.value = index; },
    });
    chart.current = made;
    return () => {
      chart.current = null;
      made.destroy();
    };
  }, [looks]);
  useEffect(() => {
    chart.current?.draw([times, ...curves.map(({ values, drawn }) => drawn ?? values)]);
  });

  /** @param {KeyboardEvent} event */
  const pressed = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    chart.current?.moveCursor(step);
    const index = cursor.value;
    if (index === null || index >= times.length) return;
    const values = curves.map(({ label, values: column }) => `${label} ${formatExact(column[index] ?? null)}`);
    said.value = [bucket(times[index] * 1000, stepMs, Date.now()), ...values].join(", ");
  };
  return html`
    <div class="plot" ref=${host} tabindex="0" role="group" onKeyDown=${pressed}
      aria-label="${title}: chart; arrow keys move the cursor, t shows a table"></div>
    <p class="unseen" role="status">${said}</p>`;
}
