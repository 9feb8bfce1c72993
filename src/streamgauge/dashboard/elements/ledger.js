// @ts-check
/** What became of every event: the sum, whether it balances, and the same for each source. */
import { FATES, ledgerWord, unaccounted } from "../derive.js";
import { exact } from "../format.js";
import { html } from "../html.js";
import { PanelHead } from "./panel_head.js";

const MEANINGS = {
  received: "events that came in and could be read",
  stored: "counted, and kept",
  filtered: "left out by a filter that you have set",
  duplicate: "seen before, counted once",
  dead_lettered: "could not be processed; kept, with the reason",
  rejected: "refused when it came; the sender was told why",
  pending: "counted and in the journal, on its way into the store",
  requests_refused: "whole requests that were turned away; their events were not read",
};

/** @param {{store: import("../state.js").Store}} props */
export function Ledger({ store }) {
  const ledger = store.state.value?.ledger;
  if (ledger === undefined) return null;
  return html`
    <section class="panel ledger" aria-label="Ledger">
      <${PanelHead} store=${store} title="Ledger" hint="Every event that was received is in exactly one of these. The sum is checked with each update; requests that were refused unread stand beside it.">
        ${store.silence.value === null && html`<${Verdict} missing=${unaccounted(ledger)} />`}
      <//>
      <div class="equation">
        <${Term} field="received" count=${ledger.received} />
        ${FATES.map((fate, index) => html`<${Term} key=${fate} sign=${index === 0 ? "=" : "+"} field=${fate} count=${ledger[fate]} />`)}
        <${Term} sign="beside" field="requests_refused" count=${ledger.requests_refused} />
      </div>
      <${BySource} sources=${ledger.sources} />
    </section>`;
}

/** @param {{missing: number}} props */
function Verdict({ missing }) {
  if (missing === 0) return html`<span class="verdict is-good">✓ nothing lost</span>`;
  const words = missing > 0 ? `${exact(missing)} not accounted for` : `${exact(-missing)} counted twice`;
  return html`<span class="verdict is-bad">▲ ${words}</span>`;
}

/** @param {{field: import("../types.js").LedgerField, count: number, sign?: string}} props */
function Term({ field, count, sign }) {
  return html`
    <span class="term ${count === 0 ? "is-zero" : ""}" title=${MEANINGS[field]}>
      ${sign && html`<span class="sign ${sign.length > 1 ? "is-word" : ""}">${sign}</span>`}
      <span class="term-words"><b>${exact(count)}</b>${field === "dead_lettered" && count > 0
        ? html`<a href="#/dead-letters">${ledgerWord(field)}</a>` : html`<span>${ledgerWord(field)}</span>`}</span>
    </span>`;
}

/** @param {{sources: Record<string, import("../types.js").LedgerCounts>}} props */
function BySource({ sources }) {
  const names = Object.keys(sources).sort();
  if (names.length === 0) return null;
  /** @type {import("../types.js").LedgerField[]} */
  const fields = ["received", ...FATES, "requests_refused"];
  return html`
    <div class="source-box" tabindex="0" role="region" aria-label="Ledger by source">
      <table>
        <thead><tr>
          <th scope="col">source</th>
          ${fields.map((field) => html`<th scope="col" class="number" title=${MEANINGS[field]} key=${field}>${ledgerWord(field)}</th>`)}
        </tr></thead>
        <tbody>
          ${names.map((name) => html`
            <tr key=${name}><th scope="row">${name}</th>${fields.map((field) => {
              const count = sources[name][field];
              return html`<td class="number ${count === 0 ? "is-zero" : ""}" key=${field}>${exact(count)}</td>`;
            })}</tr>`)}
        </tbody>
      </table>
    </div>`;
}
