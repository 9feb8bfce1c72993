// @ts-check
/** Before the first event: what to send and where, ready to be copied. It gives way by itself. */
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { Ledger } from "./ledger.js";

const COPIED_MS = 2_000;

/** @param {{store: import("../state.js").Store}} props */
export function FirstRun({ store }) {
  const received = store.state.value?.ledger.received ?? 0;
  return html`
    <main class="first-run">
      <h1>Send your first event</h1>
      <p>Any JSON object with a <code>type</code>. Everything else is optional, and all of it is kept.</p>
      <${Command} text=${curlLine()} />
      <p class="first-or">Or load a file that you have, as NDJSON or CSV:</p>
      <${Command} text=${`streamgauge replay events.ndjson --url ${pageAddress()}`} />
      <p class="waiting" role="status"><i aria-hidden="true"></i>Waiting for the first event…</p>
      ${received > 0 && html`<p>Something came, but nothing was counted. Where it went:</p><${Ledger} store=${store} />`}
    </main>`;
}

/** A line for the terminal with a button that copies it. @param {{text: string}} props */
export function Command({ text }) {
  const copied = useSignal("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      copied.value = "Copied";
    } catch (error) {
      // the clipboard is there only on https and localhost, or when it is allowed
      console.info("could not copy:", error);
      copied.value = "Select and copy";
    }
    setTimeout(() => { copied.value = ""; }, COPIED_MS);
  };
  return html`
    <div class="command">
      <pre tabindex="0"><code>${text}</code></pre>
      <button onClick=${copy}><span aria-live="polite">${copied.value || "Copy"}</span></button>
    </div>`;
}

/** The first event as one command, with the address under which this page was opened. */
export function curlLine() {
  const address = new URL("api/events", document.baseURI);
  address.search = "";
  return `curl ${address.href} \\\n  -H 'content-type: application/json' \\\n  -d '{"type": "page_view", "value": 12.5, "user_id": "ada"}'`;
}

/** Where the server is, without what stands after it. */
export function pageAddress() {
  return new URL(".", document.baseURI).href.replace(/\/$/, "");
}
