// @ts-check
/** What a chart shows, as rows: newest first, every digit. */
import { html } from "../html.js";
import { bucketWords } from "./bucket_words.js";

/** @param {{store: import("../state.js").Store, caption: string, times: number[], curves: import("../types.js").Curve[],
 *   format: (value: number | null) => string}} props  times in seconds */
export function DataTable({ store, caption, times, curves, format }) {
  const rows = times.map((second, index) => ({ second, index })).reverse();
  return html`
    <div class="table-box" tabindex="0" role="region" aria-label="${caption}: table">
      <table>
        <caption class="unseen">${caption}</caption>
        <thead><tr><th scope="col">Time</th>${curves.map(({ label }) => html`<th scope="col" class="number" key=${label}>${label}</th>`)}</tr></thead>
        <tbody>
          ${rows.map(({ second, index }) => html`
            <tr key=${second}>
              <th scope="row">${bucketWords(store, second)}</th>
              ${curves.map(({ label, values }) => html`<td class="number" key=${label}>${format(values[index] ?? null)}</td>`)}
            </tr>`)}
        </tbody>
      </table>
    </div>`;
}
