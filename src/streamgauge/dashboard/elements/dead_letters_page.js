// @ts-check
/** Events that were accepted and could not be handled: why, and what to do with them. */
import { useSignal } from "@preact/signals";
import { exact } from "../format.js";
import { html } from "../html.js";
import { ask, send } from "../request.js";
import { Confirmed } from "./confirmed.js";
import { DeadLetter } from "./dead_letter.js";
import { useFetched } from "./fetched.js";
import { PageProblem } from "./page_problem.js";
import { outcomeWords } from "../replay_words.js";

/**
 * @typedef {{name: string, state: "open" | "replayed" | "discarded", at: number, source: string, stage: string,
 *   reason: string, preview: string}} LetterRow
 * @typedef {{open: number, dead_letters: LetterRow[], next: string | null}} LetterList
 */

const PATH = "api/dead-letters";

/** @param {{store: import("../state.js").Store, actions: any}} props */
export function DeadLettersPage({ store, actions }) {
  const all = useSignal(false);
  const notice = useSignal("");
  const changes = useSignal(0);
  const path = `${PATH}?state=${all.value ? "all" : "open"}`;
  const { text, problem, retry } = useFetched(path, { key: `${changes.value} ${ledgerKey(store)}` });
  const letter = store.place.value.letter;
  const close = () => actions.visit({ page: "dead-letters", letter: null });
  const done = (/** @type {string} */ words) => {
    notice.value = words;
    changes.value += 1;
  };
  /** @type {LetterList | null} */
  const list = text === null ? null : JSON.parse(text);
  return html`
    <main class="page letters-page" tabindex="-1">
      <header class="page-head">
        <h1>Dead letters</h1>
        <p>Events that were accepted and could not be processed. Each is kept with its reason until you replay or discard it.</p>
      </header>
      <p class="notice" role="status">${notice.value}</p>
      ${problem !== null && html`<${PageProblem} what="The dead letters" problem=${problem} retry=${retry} />`}
      ${list === null ? problem === null && html`<div class="panel letters skeleton" aria-busy="true" aria-label="Loading"><div class="panel"></div></div>`
        : html`<${Letters} key=${text} store=${store} list=${list} all=${all} path=${path} done=${done} />`}
      ${letter !== null && html`<${DeadLetter} key=${letter} store=${store} name=${letter} close=${close} done=${(/** @type {string} */ words) => { close(); done(words); }} />`}
    </main>`;
}

/** What changes when there may be other letters. @param {import("../state.js").Store} store */
function ledgerKey(store) {
  const { latest, epoch } = store.session.value;
  return `${epoch} ${latest?.ledger.dead_lettered} ${latest?.ledger.sources.dead_letters?.received}`;
}

/** @param {{store: import("../state.js").Store, list: LetterList, all: import("@preact/signals").Signal<boolean>, path: string,
 *   done: (words: string) => void}} props */
function Letters({ store, list, all, path, done }) {
  const more = useSignal(/** @type {LetterRow[]} */ ([]));
  const next = useSignal(list.next);
  const problem = useSignal("");
  const rows = [...list.dead_letters, ...more.value];
  const showMore = async () => {
    try {
      /** @type {LetterList} */
      const page = JSON.parse(await ask(`${path}&after=${encodeURIComponent(next.value ?? "")}`));
      more.value = [...more.value, ...page.dead_letters];
      next.value = page.next;
    } catch (error) {
      problem.value = error instanceof Error ? error.message : String(error);
    }
  };
  return html`
    <section class="panel letters" aria-label="Dead letters">
      <header class="letters-head">
        <div class="range" role="group" aria-label="Which letters">
          <button aria-pressed=${!all.value} onClick=${() => { all.value = false; }}>Open ${exact(list.open)}</button>
          <button aria-pressed=${all.value} title="Also those that were replayed or discarded" onClick=${() => { all.value = true; }}>All</button>
        </div>
        ${list.open > 0 && html`<${Bulk} open=${list.open} done=${done} />`}
      </header>
      ${rows.length === 0 ? html`<${NoLetters} all=${all.value} />` : html`
        <div class="letter-row letter-cols" aria-hidden="true"><span>failed</span><span>source</span><span>stage</span><span>reason</span><span>event</span></div>
        <ol>${rows.map((row) => html`<li key=${row.name}><${Row} store=${store} row=${row} all=${all.value} /></li>`)}</ol>`}
      ${next.value !== null && html`<p class="letters-more"><button onClick=${showMore}>Show more</button> ${problem.value}</p>`}
    </section>`;
}

/** @param {{open: number, done: (words: string) => void}} props */
function Bulk({ open, done }) {
  const many = open === 1 ? "1 dead letter" : `${exact(open)} dead letters`;
  const replay = async () => done(outcomeWords(await send(`${PATH}/replay`, '{"all":true}')));
  const discard = async () => {
    const { discarded } = await send(`${PATH}/discard`, '{"all":true}');
    done(`${exact(discarded)} discarded.`);
  };
  return html`
    <div class="letters-bulk">
      <${Confirmed} label="Replay all" question="Send ${many} again?" yes="Replay" act=${replay} />
      <${Confirmed} label="Discard all" question="Discard ${many}? Their events will not be counted." yes="Discard" act=${discard} danger />
    </div>`;
}

/** @param {{store: import("../state.js").Store, row: LetterRow, all: boolean}} props */
function Row({ store, row, all }) {
  const { clock, moment } = store.times.value;
  const now = store.now.value;
  const time = now - row.at < 43_200_000 ? clock(row.at) : moment(row.at, now);
  return html`
    <a class="letter-row is-${row.state}" href="#/dead-letters/${row.name}" title="Show it whole">
      <span>${time}</span><span>${row.source}</span><span>${row.stage}</span>
      <span class="letter-reason">${all && html`<b class="letter-state">${row.state}</b> `}${row.reason}</span><code>${row.preview}</code>
    </a>`;
}

/** What would be here. @param {{all: boolean}} props */
function NoLetters({ all }) {
  return html`
    <div class="no-letters">
      <h2>✓ ${all ? "No dead letters" : "No open dead letters"}</h2>
      <p>An event comes here when it was accepted, and then your transform raised an error for it, took too long or ended its process,
        or the pipeline could not count it. The others of its batch go on. Here you would see when it failed and why, with the
        traceback and the event itself, to replay it once the cause is mended, to edit it, or to discard it.</p>
      <p class="fine">What is wrong already when it arrives is rejected instead: its sender is told, and the <a href="#/sources">sources</a> show the last problem.</p>
    </div>`;
}
