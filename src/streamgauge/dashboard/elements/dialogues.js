// @ts-check
/** What lies over the page when it is asked for: the keys, and how to leave a demonstration. */
import { useEffect, useRef } from "preact/hooks";
import { html } from "../html.js";
import { KEYS } from "../keys.js";
import { Command, curlLine } from "./first_run.js";

/** @param {{store: import("../state.js").Store}} props */
export function Dialogues({ store }) {
  const open = store.dialogue.value;
  if (open === null) return null;
  const close = () => { store.dialogue.value = null; };
  return open === "keys"
    ? html`<${Dialogue} title="Keys" close=${close}><${KeyTable} /><//>`
    : html`<${Dialogue} title="Use your own data" close=${close}><${OwnData} /><//>`;
}

/** @param {{title: string, close: () => void, children?: any}} props */
function Dialogue({ title, close, children }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => element.current?.showModal(), []);
  /** A click on the backdrop hits the dialogue itself. @param {MouseEvent} event */
  const clicked = (event) => { if (event.target === element.current) close(); };
  return html`
    <dialog ref=${element} aria-label=${title} onClose=${close} onClick=${clicked}>
      <header><h2>${title}</h2><button class="quiet icon" aria-label="Close" onClick=${close}>✕</button></header>
      <div class="dialogue-body">${children}</div>
    </dialog>`;
}

function KeyTable() {
  return html`
    <table class="keys"><tbody>
      ${KEYS.map(({ keys, does }) => html`
        <tr key=${does}><th scope="row">${keys.map((key) => (key === "…" ? " … " : html`<kbd key=${key}>${key}</kbd>`))}</th><td>${does}</td></tr>`)}
    </tbody></table>
    <p class="fine">Drag across a chart to zoom into that time. The address keeps the range, so it can be shared.</p>`;
}

function OwnData() {
  return html`
    <p>This is a demonstration with a stream of its own, in a folder of its own. Your data goes into an empty server:</p>
    <ol class="steps">
      <li>Stop this one with Ctrl+C, and start yours:<${Command} text="streamgauge serve" /></li>
      <li>Send an event to it:<${Command} text=${curlLine()} /></li>
    </ol>
    <p class="fine">Nothing of the demonstration is carried over.</p>`;
}
