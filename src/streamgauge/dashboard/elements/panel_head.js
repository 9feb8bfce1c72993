// @ts-check
/** The top line of every panel: its name, what it means, how old it is. */
import { duration } from "../format.js";
import { html } from "../html.js";
import { Hint } from "./hint.js";

/** @param {{store: import("../state.js").Store, title: string, hint: string, children?: any}} props */
export function PanelHead({ store, title, hint, children }) {
  return html`
    <header class="panel-head">
      <h2>${title} <${Hint} words=${hint} of=${title} /></h2>
      <${Age} store=${store} />
      ${children}
    </header>`;
}

/** How long ago the newest message came, once the panel could be taken for live and is not.
 * @param {{store: import("../state.js").Store}} props */
export function Age({ store }) {
  const age = store.silence.value;
  if (age === null || store.standing.value === "paused") return null;
  return html`<span class="age" title="Nothing has come from the server since"><span aria-hidden="true">◷ </span>${duration(Math.floor(age / 1000) * 1000).replace(".0 s", " s")} ago</span>`;
}
