// @ts-check
/** Where events come from: how fast, how many are turned away, when the last one came, and what was wrong with it. */
import { duration, exact, rate } from "../format.js";
import { html } from "../html.js";
import { PanelHead } from "./panel_head.js";

/** @param {{store: import("../state.js").Store}} props */
export function Sources({ store }) {
  const state = store.state.value;
  if (state?.sources === undefined) return null;
  const names = Object.keys(state.sources).sort();
  return html`
    <section class="panel sources" aria-label="Sources">
      <${PanelHead} store=${store} title="Sources" hint="Each way in: events per second, rejected events per second, when the last event came, and the last problem that a sender was told of.">
        <span class="panel-note">${names.length === 0 ? "" : names.length === 1 ? "1 source" : `${names.length} sources`}</span>
      <//>
      <div class="source-box" tabindex="0" role="region" aria-label="Sources: table">
        <table>
          <thead><tr><th scope="col">source</th><th scope="col" class="number">rate</th><th scope="col" class="number">rejected</th><th scope="col" class="number">last event</th></tr></thead>
          ${names.map((name) => html`<${Source} key=${name} name=${name} health=${state.sources?.[name]} asOf=${state.as_of} times=${store.times.value} />`)}
        </table>
        ${names.length === 0 && html`<p class="fine">Nothing has come in since the server was started.</p>`}
      </div>
    </section>`;
}

/** @param {{name: string, health: import("../types.js").SourceHealth, asOf: number, times: import("../times.js").Times}} props */
function Source({ name, health, asOf, times }) {
  const { rate: perS, rejected_rate: rejected, last_ms: lastMs, last_problem: problem } = health;
  const bad = rejected > 0;
  const state = bad ? ["▲", "is-warn", "rejecting"] : perS > 0 ? ["●", "is-good", "active"] : ["◌", "", "quiet"];
  return html`
    <tbody>
      <tr>
        <th scope="row"><i class=${state[1]} aria-hidden="true">${state[0]}</i>${name}<span class="unseen">, ${state[2]}</span></th>
        <td class="number">${rate(perS)}</td>
        <td class="number ${bad ? "is-warn" : "is-zero"}" title="${exact(rejected)} per second">${rate(rejected)}</td>
        <td class="number" title=${lastMs === null ? "" : times.moment(lastMs, asOf)}>${ageWords(lastMs, asOf)}</td>
      </tr>
      ${problem !== null && html`<tr class="problem"><td colspan="4" title=${problem}><span>last problem</span> ${problem}</td></tr>`}
    </tbody>`;
}

/** @param {number | null} lastMs @param {number} asOf @returns {string} */
export function ageWords(lastMs, asOf) {
  if (lastMs === null) return "–";
  const age = asOf - lastMs;
  return age < 1_500 ? "now" : `${duration(Math.round(age / 1000) * 1000).replace(".0 s", " s")} ago`;
}
