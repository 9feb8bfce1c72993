// @ts-check
/** Types by number of events, as bars that keep their identity while they move. */
import { colourSlots, ranked } from "../derive.js";
import { compact, exact, percent } from "../format.js";
import { html } from "../html.js";
import { Hint } from "./hint.js";

/** @param {{store: import("../state.js").Store}} props */
export function TopList({ store }) {
  const state = store.state.value;
  const rows = state === null ? [] : ranked(state);
  const slots = colourSlots(state === null ? [] : Object.keys(state.type_series).filter((type) => Object.hasOwn(state.types, type)));
  const types = rows.filter((row) => !row.other).length;
  return html`
    <section class="panel top-list" aria-label="Top events by type">
      <header class="panel-head">
        <h2>Top events by type <${Hint} of="Top events by type" words="Number of events of each type in the range, its share of all, and the mean of its values." /></h2>
        <span class="panel-note">${types === 0 ? "" : types === 1 ? "1 type" : `${types} types`}</span>
      </header>
      <div class="top-cols" aria-hidden="true"><span>type</span><span>events</span><span>share</span><span>avg</span></div>
      <ol tabindex="0" aria-label="Types, most events first">
        ${rows.map((row) => html`<${Row} key=${row.type} ...${row} slot=${slots.get(row.type)} />`)}
      </ol>
    </section>`;
}

/** @param {{type: string, count: number, share: number, width: number, avg: number | null, other: boolean, slot?: number}} props */
function Row({ type, count, share, width, avg, other, slot }) {
  const colour = other || slot === undefined ? "var(--series-other)" : `var(--series-${slot})`;
  return html`
    <li class=${other ? "is-other" : ""} title="${type}: ${exact(count)} events, average ${exact(avg)}">
      <span class="top-type">${type}</span>
      <b>${compact(count)}</b><span>${percent(share)}</span><span class="top-avg">${compact(avg)}</span>
      <i class="bar" style=${{ transform: `scaleX(${Math.max(width, 0.002)})`, background: colour }}></i>
    </li>`;
}
