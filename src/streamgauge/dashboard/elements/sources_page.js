// @ts-check
/** Every way in for events: what to paste, and what has come by it. */
import { doorWord, withLive } from "../doors.js";
import { exact, rate } from "../format.js";
import { html } from "../html.js";
import { MQTT_CONFIGURATION } from "../snippets.js";
import { Command } from "./command.js";
import { useFetched } from "./fetched.js";
import { PageProblem } from "./page_problem.js";
import { SourceCard } from "./source_card.js";
import { ageWords } from "./sources.js";

const EVERY_MS = 2_000;
/** The order of the page; what is not here comes last. */
const ORDER = ["http", "cloudevents", "websocket", "python", "mqtt", "files"];
/** What counts, but has no door. @type {Readonly<Record<string, string>>} */
const OTHERS = Object.freeze({
  demo: "the made-up events of the demonstration",
  dead_letters: "dead letters that were replayed",
  python: "what the program around this server pushes by itself",
});

/** @param {{store: import("../state.js").Store}} props */
export function SourcesPage({ store }) {
  const { text, problem, retry } = useFetched("api/sources", { everyMs: EVERY_MS });
  const away = store.link.value === "reconnecting" || store.link.value === "draining";
  return html`
    <main class="page doors-page" tabindex="-1">
      <header class="page-head"><h1>Sources</h1>
        <p>Every way in for events. Copy, paste, run: the card says within two seconds what came.</p></header>
      ${problem !== null && !away && html`<${PageProblem} what="The list of sources" problem=${problem} retry=${retry} />`}
      ${text !== null ? html`<${Doors} store=${store} text=${text} />` : problem === null && html`<${Waiting} />`}
    </main>`;
}

/** The shape of the cards, before the first answer. */
function Waiting() {
  return html`
    <div class="doors skeleton" aria-busy="true" aria-label="Loading">
      ${ORDER.map((kind) => html`<div class="panel door" key=${kind}></div>`)}
    </div>`;
}

/** @param {{store: import("../state.js").Store, text: string}} props */
function Doors({ store, text }) {
  const latest = store.session.value.latest;
  /** @type {import("../doors.js").DoorList} */
  const list = JSON.parse(text);
  const asOf = Math.max(list.as_of, latest?.as_of ?? 0);
  const doors = list.doors.map((door) => withLive(door, latest));
  const place = (/** @type {import("../doors.js").Door} */ { kind }) => ORDER.indexOf(kind);
  const cards = doors.filter((door) => place(door) >= 0).sort((a, b) => place(a) - place(b));
  const others = doors.filter((door) => place(door) < 0);
  const given = { asOf, fields: list.fields, startedAt: list.started_at, times: store.times.value };
  const drawn = cards.map((door) => html`<${SourceCard} key=${`${door.kind} ${door.name}`} door=${door} ...${given} />`);
  if (!cards.some(({ kind }) => kind === "mqtt")) drawn.splice(-1, 0, html`<${NoBroker} key="mqtt" />`);
  return html`
    <div class="doors">${drawn}</div>
    ${others.length > 0 && html`<${Others} doors=${others} asOf=${asOf} />`}`;
}

/** What to configure, where no broker is. */
function NoBroker() {
  return html`
    <section class="panel door" aria-labelledby="door-mqtt">
      <header class="door-head"><h2 id="door-mqtt">MQTT</h2><span class="door-word"><i aria-hidden="true">◌</i>not configured</span></header>
      <p class="door-about">Streamgauge subscribes to your broker, and acknowledges a message once its events are written.</p>
      <h3>Write this into <code>streamgauge.toml</code></h3>
      <${Command} text=${MQTT_CONFIGURATION} label="Copy the configuration of MQTT" />
      <h3>Start with it</h3>
      <${Command} text="streamgauge serve streamgauge.toml" label="Copy the command that starts with it" />
    </section>`;
}

/** @param {{doors: import("../doors.js").Door[], asOf: number}} props */
function Others({ doors, asOf }) {
  return html`
    <section class="panel others" aria-label="Counted too">
      <header class="panel-head"><h2>Counted too</h2></header>
      <div class="source-box" tabindex="0" role="region" aria-label="Counted too: table"><table>
        <thead><tr><th scope="col">source</th><th scope="col">what it is</th>${["last event", "rate", "received", "rejected", "duplicate"].map((name) => html`<th scope="col" class="number" key=${name}>${name}</th>`)}</tr></thead>
        <tbody>${doors.map((door) => html`
          <tr key=${door.name}>
            <th scope="row">${door.name}<span class="unseen">, ${doorWord(door, asOf)[2]}</span></th><td>${OTHERS[door.name] ?? "a source that is configured no more"}</td>
            <td class="number">${ageWords(door.last_ms, asOf)}</td><td class="number">${rate(door.rate)}</td>
            ${[door.received, door.rejected, door.duplicate].map((count, index) => html`<td class="number ${count === 0 ? "is-zero" : ""}" key=${index}>${exact(count)}</td>`)}
          </tr>`)}</tbody>
      </table></div>
    </section>`;
}
