// @ts-check
/** One door: its address, what came by it, what was wrong, and what to paste. */
import { doorProblem, doorWord } from "../doors.js";
import { compact, exact, rate } from "../format.js";
import { html } from "../html.js";
import {
  clientSnippet, cloudEventsSnippet, curlSnippet, embeddedSnippet, mosquittoSnippet, pageAddress, phoenixSnippet, replaySnippet,
  socketAddress,
} from "../snippets.js";
import { Command } from "./command.js";
import { ageWords } from "./sources.js";

/**
 * @typedef {import("../doors.js").Door} Door
 * @typedef {{title: string, address: string, about: string, snippets: {head: any, text: string, label: string}[]}} Words
 * @typedef {{door: Door, asOf: number, startedAt: number, fields: import("../snippets.js").Fields,
 *   times: import("../times.js").Times}} Props
 */

/** @param {Props} props */
export function SourceCard({ door, asOf, startedAt, fields, times }) {
  const { title, address, about, snippets } = WORDS[/** @type {keyof typeof WORDS} */ (door.kind)](door, fields);
  const [sign, look, word] = doorWord(door, asOf);
  const problem = doorProblem(door);
  const id = `door-${door.kind}-${door.name}`;
  return html`
    <section class="panel door" aria-labelledby=${id}>
      <header class="door-head"><h2 id=${id}>${title}</h2><span class="door-word"><i class=${look} aria-hidden="true">${sign}</i>${word}</span></header>
      <p class="door-address"><code>${address}</code></p>
      <dl class="door-facts">
        <${Fact} name="last event" title=${door.last_ms === null ? "" : times.moment(door.last_ms, asOf)} fresh=${door.last_ms !== null && asOf - door.last_ms < 5_000}>${ageWords(door.last_ms, asOf)}<//>
        <${Fact} name="rate">${rate(door.rate)}<//>
        <${Fact} name="received" title=${exact(door.received)} zero=${door.received === 0}>${compact(door.received)}<//>
        <${Fact} name="rejected" title=${exact(door.rejected)} zero=${door.rejected === 0} warn=${door.rejected > 0}>${compact(door.rejected)}<//>
        <${Fact} name="duplicates" title=${exact(door.duplicate)} zero=${door.duplicate === 0}>${compact(door.duplicate)}<//>
      </dl>
      ${problem !== null && html`<p class="door-problem ${problem.now ? "is-now" : ""}"><b>${problem.now ? "■ wrong now" : "▲ last problem"}</b> ${problem.words}</p>`}
      <p class="door-about">${about}${door.own && html` It stands under <code>http</code> in the ledger; here it is counted since ${times.moment(startedAt, asOf)}.`}</p>
      ${snippets.map(({ head, text, label }) => html`<h3 key=${`h ${label}`}>${head}</h3><${Command} key=${label} text=${text} label=${label} />`)}
    </section>`;
}

/** @param {{name: string, title?: string, fresh?: boolean, zero?: boolean, warn?: boolean, children?: any}} props */
function Fact({ name, title, fresh, zero, warn, children }) {
  const look = [fresh && "is-fresh", zero && "is-zero", warn && "is-warn"].filter(Boolean).join(" ");
  return html`<div><dt>${name}</dt><dd class=${look} title=${title}>${children}</dd></div>`;
}

/** What each kind of door is called, where it is, and how something is sent to it.
 * @type {Readonly<Record<"http" | "websocket" | "mqtt" | "cloudevents" | "python" | "files", (door: Door, fields: import("../snippets.js").Fields) => Words>>} */
const WORDS = Object.freeze({
  http: (_door, fields) => ({
    title: "HTTP", address: `POST ${pageAddress()}/api/events`,
    about: "One event, an array, or one a line; plain, gzip or zstd.",
    snippets: [{ head: "From a terminal", text: curlSnippet(pageAddress(), fields), label: "Copy the curl command" }],
  }),
  websocket: (_door, fields) => ({
    title: "WebSocket", address: `${socketAddress(pageAddress())}/websocket`,
    about: "Phoenix Channels, version 2: every Phoenix client works, and reconnects by itself. Topic events.",
    snippets: [
      { head: "Once, in a folder of its own", text: "npm install phoenix ws", label: "Copy the command that installs the Phoenix client" },
      { head: "With the Phoenix client", text: phoenixSnippet(pageAddress(), fields), label: "Copy the Phoenix client's lines" },
    ],
  }),
  python: (_door, fields) => ({
    title: "Python", address: `Client("${pageAddress()}")`,
    about: "Batches, retries and a bounded buffer; each event counts once, however often it is sent.",
    snippets: [
      { head: "To this server", text: clientSnippet(pageAddress(), fields), label: "Copy the Python client's lines" },
      { head: "Inside your own program, without a server", text: embeddedSnippet(), label: "Copy the embedded lines" },
    ],
  }),
  mqtt: (door, fields) => ({
    title: door.name === "mqtt" ? "MQTT" : `MQTT: ${door.name}`, address: door.url ?? "",
    about: `Subscribed to ${(door.topics ?? []).join(", ")}. Add -u and -P where the broker asks who you are.`,
    snippets: [{
      head: "To the broker", label: `Copy the mosquitto_pub command of ${door.name}`,
      text: mosquittoSnippet({ url: door.url ?? "", example: door.example ?? "", type_field: door.type_field ?? fields.type }, fields),
    }],
  }),
  cloudevents: (_door, fields) => ({
    title: "CloudEvents", address: `POST ${pageAddress()}/api/events`,
    about: "Version 1.0: structured, batched and binary. Source and id together count once.",
    snippets: [{ head: "In binary mode", text: cloudEventsSnippet(pageAddress(), fields), label: "Copy the CloudEvents command" }],
  }),
  files: (_door, fields) => ({
    title: "Files", address: `streamgauge replay … --url ${pageAddress()}`,
    about: "NDJSON, JSON, CSV, Parquet and logs, plain, .gz or .zst; - reads standard input.",
    snippets: [{ head: "A file of one line, sent", text: replaySnippet(pageAddress(), fields), label: "Copy the replay command" }],
  }),
});
