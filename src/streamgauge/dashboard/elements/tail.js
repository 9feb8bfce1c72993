// @ts-check
/** The last few events as they come in; a click shows one whole. Its rows are always there, filled or not. */
import { exact, trimmed } from "../format.js";
import { html } from "../html.js";
import { PanelHead } from "./panel_head.js";

const ROWS = 8;

/** @param {{store: import("../state.js").Store}} props */
export function Tail({ store }) {
  const state = store.state.value;
  if (state?.tail === undefined) return null;
  const rows = state.tail.slice(0, ROWS);
  const slots = store.slots.value;
  const { clock, recent } = store.times.value;
  const asOf = state.as_of;
  const isDated = rows.some(({ time }) => recent(time, asOf) !== clock(time));
  const hold = (/** @type {PointerEvent} */ event) => { if (event.pointerType === "mouse") store.hold("tail"); };
  // somebody who goes through the rows by keyboard wants them to stay
  const focused = (/** @type {FocusEvent} */ event) => {
    if (event.target instanceof Element && event.target.matches(":focus-visible")) store.hold("tail");
  };
  return html`
    <section class="panel tail ${isDated ? "is-dated" : ""}" aria-label="Live tail">
      <${PanelHead} store=${store} title="Live tail" hint="The last eight events that were accepted, newest first. Click one to see all of it; the list stands still while you point at it." >
        <span class="panel-note">newest first</span>
      <//>
      <div class="tail-row tail-cols" aria-hidden="true"><span>time</span><span>type</span><span>user</span><span class="number">value</span><span>source</span></div>
      <ol onPointerEnter=${hold} onPointerLeave=${() => store.release("tail")} onFocusIn=${focused} onFocusOut=${() => store.release("tail")}>
        ${Array.from({ length: ROWS }, (_, index) => html`<li key=${index}>${rows[index] === undefined
          ? html`<div class="tail-row is-ghost" aria-hidden="true"><i></i><i></i><i></i><i></i><i></i></div>`
          : html`<${Row} store=${store} row=${rows[index]} slot=${slots.get(rows[index].type)} />`}</li>`)}
      </ol>
    </section>`;
}

/** @param {{store: import("../state.js").Store, row: import("../types.js").TailRow, slot?: number}} props */
function Row({ store, row, slot }) {
  const open = () => {
    store.hold("inspector");
    store.dialogue.value = row;
  };
  return html`
    <button class="tail-row" title="Show the whole event" aria-haspopup="dialog" onClick=${open}>
      <span>${store.times.value.recent(row.time, store.state.value?.as_of ?? row.time)}</span>
      <span class="tail-type"><i class="swatch" style=${{ background: slot === undefined ? "var(--series-other)" : `var(--series-${slot})` }}></i><span>${row.type}</span></span>
      <span>${row.user_id ?? "–"}</span><span class="number">${typeof row.value === "number" ? trimmed(exact(row.value)) : "–"}</span><span>${row.source}</span>
    </button>`;
}
