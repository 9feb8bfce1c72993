// @ts-check
/** Types by number of events, as bars that keep their identity while they move; a click filters by one. */
import { ranked } from "../derive.js";
import { compact, exact, percent } from "../format.js";
import { html } from "../html.js";
import { PanelHead } from "./panel_head.js";

/** @param {{store: import("../state.js").Store, actions: any}} props */
export function TopList({ store, actions }) {
  const state = store.state.value;
  const rows = state === null ? [] : ranked(state);
  const slots = store.slots.value;
  const filter = store.filter.value;
  const types = rows.filter((row) => !row.other).length;
  return html`
    <section class="panel top-list" aria-label="Top events by type">
      <${PanelHead} store=${store} title="Top events by type"
        hint="Number of events of each type in the range, its share of all, and the mean of its values. Click a type to see nothing else.">
        <span class="panel-note">${types === 0 ? "" : types === 1 ? "1 type" : `${types} types`}</span>
      <//>
      <div class="top-cols" aria-hidden="true"><span>type</span><span>events</span><span>share</span><span>avg</span></div>
      <ol aria-label="Types, most events first">
        ${rows.map((row) => html`
          <${Row} key=${row.type} ...${row} slot=${slots.get(row.type)} filter=${filter}
            choose=${() => actions.go({ filter: row.type === filter ? null : row.type })} />`)}
      </ol>
    </section>`;
}

/** @param {{type: string, count: number, share: number, width: number, avg: number | null, other: boolean, slot?: number,
 *   filter: string | null, choose: () => void}} props */
function Row({ type, count, share, width, avg, other, slot, filter, choose }) {
  const colour = other || slot === undefined ? "var(--series-other)" : `var(--series-${slot})`;
  const cells = html`
    <span class="top-type">${type}</span>
    <b>${compact(count)}</b><span>${percent(share)}</span><span class="top-avg">${compact(avg)}</span>
    <i class="bar" style=${{ transform: `scaleX(${Math.max(width, 0.002)})`, background: colour }}></i>`;
  const looks = [other && "is-other", filter !== null && filter !== type && "is-out"].filter(Boolean).join(" ");
  return html`
    <li class=${looks} title="${type}: ${exact(count)} events, average ${exact(avg)}">
      ${other
        ? html`<div class="top-row">${cells}</div>`
        : html`<button class="top-row" aria-pressed=${filter === type} onClick=${choose}>${cells}</button>`}
    </li>`;
}
