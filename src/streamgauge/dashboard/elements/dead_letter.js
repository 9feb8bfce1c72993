// @ts-check
/** One dead letter, whole: why it failed, its event, and what to do with it. */
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { eventProblem, eventText, indented } from "../raw_json.js";
import { send } from "../request.js";
import { Command } from "./command.js";
import { Confirmed } from "./confirmed.js";
import { Dialogue } from "./dialogues.js";
import { useFetched } from "./fetched.js";
import { PageProblem } from "./page_problem.js";
import { outcomeWords } from "../replay_words.js";

/**
 * @typedef {import("./dead_letters_page.js").LetterRow & {received_at: number, traceback: string}} Letter
 * @typedef {{store: import("../state.js").Store, name: string, close: () => void, done: (words: string) => void}} Props
 */

/** @param {Props} props */
export function DeadLetter({ store, name, close, done }) {
  const { text, problem, retry } = useFetched(`api/dead-letters/${encodeURIComponent(name)}`);
  return html`
    <${Dialogue} title="Dead letter ${name}" side close=${close}>
      ${problem !== null && html`<${PageProblem} what="This dead letter" problem=${problem} retry=${retry} />`}
      ${text !== null && html`<${Whole} store=${store} text=${text} name=${name} done=${done} />`}
    <//>`;
}

/** @param {{store: import("../state.js").Store, text: string, name: string, done: (words: string) => void}} props */
function Whole({ store, text, name, done }) {
  const editing = useSignal(false);
  /** @type {Letter} */
  const letter = JSON.parse(text);
  const event = indented(eventText(text) ?? "{}");
  const { clock, moment, zone } = store.times.value;
  const now = store.now.value;
  const time = (/** @type {number} */ ms) => `${moment(ms, now).replace(/ [\d:]+$/, "")} ${clock(ms)} ${zone}`;
  const facts = [
    ["state", letter.state], ["arrived", time(letter.received_at)], ["failed", time(letter.at)], ["source", letter.source], ["stage", letter.stage],
  ];
  return html`
    <p class="letter-why"><b>▲ ${letter.reason}</b></p>
    <dl class="facts">${facts.map(([fact, value]) => html`<div key=${fact}><dt>${fact}</dt><dd>${value}</dd></div>`)}</dl>
    ${editing.value ? html`<${Editor} name=${name} event=${event} done=${done} cancel=${() => { editing.value = false; }} />` : html`
      <h3>The event, as it came</h3>
      <${Command} text=${event} label="Copy the event" />
      <${Choices} name=${name} state=${letter.state} done=${done} edit=${() => { editing.value = true; }} />`}
    ${letter.traceback !== "" && html`
      <section class="letter-trace" aria-label="Traceback"><h3>Traceback</h3><${Command} text=${letter.traceback.trimEnd()} label="Copy the traceback" /></section>`}`;
}

/** @param {{name: string, state: Letter["state"], done: (words: string) => void, edit: () => void}} props */
function Choices({ name, state, done, edit }) {
  if (state === "replayed") return html`<p class="fine">It was sent again, and counts once.</p>`;
  const replay = () => sent(name, null, done);
  const discard = async () => {
    await send("api/dead-letters/discard", JSON.stringify({ names: [name] }));
    done(`${name} discarded.`);
  };
  return html`
    <div class="letter-choices">
      <${Confirmed} label="Replay" question="Send it again as it is?" yes="Replay" act=${replay} />
      <button onClick=${edit}>Edit and replay</button>
      ${state === "open" && html`<${Confirmed} label="Discard" question="Discard it? Its event will not be counted." yes="Discard" act=${discard} danger />`}
    </div>`;
}

/** @param {{name: string, event: string, done: (words: string) => void, cancel: () => void}} props */
function Editor({ name, event, done, cancel }) {
  const text = useSignal(event);
  const problem = useSignal("");
  const working = useSignal(false);
  const submitted = async (/** @type {SubmitEvent} */ submit) => {
    submit.preventDefault();
    problem.value = eventProblem(text.value) ?? "";
    if (problem.value !== "") return;
    working.value = true;
    try {
      await sent(name, text.value, done);
    } catch (error) {
      problem.value = error instanceof Error ? error.message : String(error);
    } finally {
      working.value = false;
    }
  };
  return html`
    <form class="letter-editor" onSubmit=${submitted}>
      <label>The event that is sent in its place
        <textarea spellcheck="false" autofocus rows=${Math.min(24, event.split("\n").length + 2)} value=${text.value}
          onInput=${(/** @type {InputEvent} */ input) => { text.value = /** @type {HTMLTextAreaElement} */ (input.target).value; }}></textarea></label>
      <p class="problem-words" role="alert">${problem.value}</p>
      <div class="letter-choices"><button class="primary" type="submit" disabled=${working.value}>Replay this</button><button type="button" onClick=${cancel}>Keep it as it came</button></div>
    </form>`;
}

/** Send a letter again, with another event where one is given; an outcome that is none is an Error.
 * @param {string} name @param {string | null} event JSON @param {(words: string) => void} done */
async function sent(name, event, done) {
  // as text, since a number may have more digits than this browser's
  const body = `{"names":[${JSON.stringify(name)}]${event === null ? "" : `,"event":${event}`}}`;
  const outcome = await send("api/dead-letters/replay", body);
  if (outcome.rejected > 0) throw new Error(outcomeWords(outcome));
  done(outcomeWords(outcome));
}
