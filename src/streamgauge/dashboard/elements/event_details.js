// @ts-check
/** One event, whole: what the pipeline took from it, and the JSON as text. */
import { exact } from "../format.js";
import { html } from "../html.js";
import { Command } from "./command.js";

/** @param {{store: import("../state.js").Store, row: import("../types.js").TailRow}} props */
export function EventDetails({ store, row }) {
  const { clock, moment, zone } = store.times.value;
  const facts = [
    ["type", row.type],
    ["time", `${moment(row.time, store.now.value).replace(/ [\d:]+$/, "")} ${clock(row.time)} ${zone}`],
    ["user", row.user_id ?? "–"],
    ["value", typeof row.value === "number" ? exact(row.value) : "–"],
    ["source", row.source],
  ];
  return html`
    <dl class="facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <${Command} text=${JSON.stringify(row.event, null, 2)} label="Copy the JSON" />
    <p class="fine">The picture stands still while this is open.</p>`;
}
