// @ts-check
/** What lies over the page when it is asked for: the keys, how to leave a demonstration, an event whole. */
import { useEffect, useRef } from "preact/hooks";
import { html } from "../html.js";
import { KEYS } from "../keys.js";
import { curlSnippet, pageAddress } from "../snippets.js";
import { Command } from "./command.js";
import { EventDetails } from "./event_details.js";
import { useFields } from "./fetched.js";

/** @typedef {{store: import("../state.js").Store, actions: any}} Props */

/** @param {Props} props */
export function Dialogues({ store, actions }) {
  const open = store.dialogue.value;
  if (open === null) return null;
  const close = () => {
    store.dialogue.value = null;
    store.release("inspector");
  };
  if (open === "keys") return html`<${Dialogue} key="keys" title="Keys" close=${close}><${KeyTable} store=${store} actions=${actions} /><//>`;
  if (open === "own-data") return html`<${Dialogue} key="own" title="Stop and use your own data" close=${close}><${OwnData} store=${store} /><//>`;
  return html`<${Dialogue} key="event" title="Event" side close=${close}><${EventDetails} store=${store} row=${open} /><//>`;
}

/** @param {{title: string, close: () => void, side?: boolean, children?: any}} props */
export function Dialogue({ title, close, side, children }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => element.current?.showModal(), []);
  /** A click on the backdrop hits the dialogue itself. @param {MouseEvent} event */
  const clicked = (event) => { if (event.target === element.current) element.current?.close(); };
  return html`
    <dialog ref=${element} class=${side ? "is-side" : ""} aria-label=${title} onClose=${close} onClick=${clicked}>
      <header><h2>${title}</h2><button class="quiet icon" aria-label="Close" title="Close (Esc)" onClick=${() => element.current?.close()}>✕</button></header>
      <div class="dialogue-body">${children}</div>
    </dialog>`;
}

/** @param {Props} props */
function KeyTable({ store, actions }) {
  const on = store.keys.value;
  return html`
    <table class="keys"><tbody>
      ${KEYS.map(({ keys, does }) => html`
        <tr key=${does}><th scope="row">${keys.map((key) => (key === "…" ? " … " : html`<kbd key=${key}>${key}</kbd>`))}</th><td>${does}</td></tr>`)}
    </tbody></table>
    <label class="switch"><input type="checkbox" checked=${on} onChange=${() => actions.chooseKeys(!on)} /> Single keys do something on this page</label>
    <p class="fine">Drag across a chart to zoom into that time. The address keeps the range, the filter and the zone, so it can be shared.</p>`;
}

/** @param {{store: import("../state.js").Store}} props */
function OwnData({ store }) {
  const { fields, known } = useFields(store);
  return html`
    <p>This is a demonstration with a stream of its own, in a folder of its own. Your data goes into an empty server:</p>
    <ol class="steps">
      <li>Stop this one with Ctrl+C where it was started, and start yours:<${Command} text="streamgauge serve" label="Copy the command" /></li>
      <li class=${known ? "" : "is-unknown"}>Send an event to it:<${Command} text=${curlSnippet(pageAddress(), fields)} label="Copy the curl line" /></li>
    </ol>
    <p class="fine">Nothing of the demonstration is carried over. This page connects to the new server by itself.</p>`;
}
