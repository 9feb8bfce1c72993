// @ts-check
/** The way of the events through the server, in one row: how fast each stage is, what waits before it, how busy it is. */
import { compact, exact, percent, rate } from "../format.js";
import { html } from "../html.js";
import { PanelHead } from "./panel_head.js";

/** From here on a stage is marked. */
const BUSY = 0.8;
const FULL = 0.8;
/** The stages that another one asks for events. */
const DEMANDED = new Set(["receive", "transform"]);

/** @param {{store: import("../state.js").Store}} props */
export function PipelineStrip({ store }) {
  const pipeline = store.state.value?.pipeline;
  if (pipeline === undefined) return null;
  return html`
    <section class="panel pipeline" aria-label="Pipeline">
      <${PanelHead} store=${store} title="Pipeline" hint="Events move from left to right. Each bar shows how full the buffer before a stage is; asked for is the demand of the stage behind it, the events that may come on; busy is the share of time in which it works.">
        ${store.silence.value === null && html`<${Bottleneck} words=${pipeline.bottleneck} />`}
      <//>
      <ol class="stages">
        ${pipeline.stages.map((stage) => html`<${StageCell} key=${stage.name} ...${stage} />`)}
      </ol>
    </section>`;
}

/** @param {{words: string | null}} props */
function Bottleneck({ words }) {
  return words === null
    ? html`<span class="verdict is-good">● no bottleneck</span>`
    : html`<span class="verdict is-warn" role="status">▲ ${words}</span>`;
}

/** @param {import("../types.js").Stage} stage */
function StageCell({ name, rate: perS, buffer, capacity, demand, busy }) {
  const fill = capacity > 0 ? Math.min(1, buffer / capacity) : 0;
  const hot = busy >= BUSY || fill >= FULL;
  const waiting = capacity > 0 ? `${exact(buffer)} of ${exact(capacity)} waiting` : `${exact(buffer)} waiting`;
  return html`
    <li class="stage ${hot ? "is-hot" : ""}" title="${name}: ${exact(perS)} events per second, ${waiting}, ${exact(demand)} asked for, busy ${percent(busy)}">
      <span class="stage-name">${name}</span><b>${rate(perS)}</b>
      <i class="fill" aria-hidden="true"><i style=${{ transform: `scaleX(${fill})` }}></i></i>
      <span class="stage-note"><span>${compact(buffer)} waiting</span><span class="stage-demand">${DEMANDED.has(name) && `${compact(demand)} asked for`}</span><span>busy ${busyWords(busy)}</span></span>
    </li>`;
}

/** @param {number} busy */
function busyWords(busy) {
  return busy > 0 && busy < 0.01 ? "<1%" : `${Math.round(busy * 100)}%`;
}
