// @ts-check
/** Before the first event: what to send and where, ready to be copied. It gives way by itself. */
import { html } from "../html.js";
import { curlSnippet, MQTT_CONFIGURATION, pageAddress, pythonSnippet } from "../snippets.js";
import { Command } from "./command.js";
import { useFields } from "./fetched.js";
import { Ledger } from "./ledger.js";

/** @param {{store: import("../state.js").Store}} props */
export function FirstRun({ store }) {
  const received = store.state.value?.ledger.received ?? 0;
  const { fields, known } = useFields(store);
  const address = pageAddress();
  return html`
    <main class="first-run">
      <h1>Send your first event</h1>
      <p class=${known ? "" : "is-unknown"}>Any JSON object with a <code>${fields.type}</code>. Everything else is optional, and all of it is kept.</p>
      <p class="waiting" role="status"><i aria-hidden="true"></i>Waiting for the first event…</p>
      <div class="ways ${known ? "" : "is-unknown"}">
        <section aria-label="From a terminal"><h2>From a terminal</h2><${Command} text=${curlSnippet(address, fields)} label="Copy the command" /></section>
        <section aria-label="From Python"><h2>From Python, with nothing to install</h2><${Command} text=${pythonSnippet(address, fields)} label="Copy the Python lines" /></section>
        <section aria-label="From a file"><h2>From a file: NDJSON or CSV</h2><${Command} text=${`streamgauge replay events.ndjson \\\n  --url ${address}`} label="Copy the replay command" /></section>
        <section aria-label="From an MQTT broker"><h2>From an MQTT broker: write this into streamgauge.toml</h2><${Command} text=${MQTT_CONFIGURATION} label="Copy the configuration of MQTT" />
          <p class="fine">Then start with it: <code>streamgauge serve streamgauge.toml</code></p></section>
        <section aria-label="A demo"><h2>Or load a demo first</h2><${Command} text="streamgauge demo --port 0" label="Copy the demo command" />
          <p class="fine">A second server with made-up events, in a folder of its own; it prints its address. This one stays empty.</p></section>
      </div>
      <p>More ways in, such as WebSocket and CloudEvents, are under <a href="#/sources">Sources</a>.</p>
      ${received > 0 && html`<p>Something came, but nothing was counted. Where it went:</p><${Ledger} store=${store} />`}
    </main>`;
}
