// @ts-check
/** From and to as fields, and the zone that all times of the page are written in. */
import { useId, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { Clock } from "./icons.js";

/** @param {{store: import("../state.js").Store, actions: any}} props */
export function RangePopover({ store, actions }) {
  const id = useId();
  const popover = useRef(/** @type {HTMLElement | null} */ (null));
  const opener = useRef(/** @type {HTMLElement | null} */ (null));
  const problem = useSignal("");
  const times = store.times.value;
  const range = store.session.value.latest?.range;
  const opened = (/** @type {ToggleEvent} */ event) => {
    if (event.newState !== "open") return;
    problem.value = "";
    const fields = popover.current?.querySelectorAll("input[type=datetime-local]") ?? [];
    // once, when it opens: what is typed must not be overwritten by what comes in
    [range?.from, range?.to].forEach((ms, index) => {
      const field = fields[index];
      if (field instanceof HTMLInputElement && ms !== undefined) field.value = times.field(ms);
    });
    const right = innerWidth - (opener.current?.getBoundingClientRect().right ?? innerWidth);
    popover.current?.style.setProperty("--from-right", `${Math.max(12, Math.round(right))}px`);
  };
  const applied = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const given = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const [from, to] = ["from", "to"].map((name) => times.read(String(given.get(name) ?? "")));
    if (from === null || to === null) problem.value = "Both times are needed.";
    else if (from >= to) problem.value = "The first time must be before the second.";
    else {
      popover.current?.hidePopover();
      actions.go({ choice: { from, to } });
    }
  };
  return html`
    <button class="icon calendar" ref=${opener} popovertarget=${id} aria-label="Choose from and to" title="From … to …"><${Clock} /></button>
    <div class="range-popover" popover id=${id} ref=${popover} onToggle=${opened}>
      <form onSubmit=${applied} aria-label="Time range">
        <label>From <input type="datetime-local" name="from" step="1" required /></label>
        <label>To <input type="datetime-local" name="to" step="1" required /></label>
        <${Zone} store=${store} actions=${actions} />
        <p class="problem-words" role="alert">${problem}</p>
        <button class="primary" type="submit">Show this time</button>
      </form>
    </div>`;
}

/** @param {{store: import("../state.js").Store, actions: any}} props */
function Zone({ store, actions }) {
  const { utc } = store.address.value;
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
  /** What stands in the fields stays the same moment. @param {boolean} next @param {Event} event */
  const change = (next, event) => {
    const before = store.times.value;
    const fields = [.../** @type {HTMLElement} */ (event.currentTarget).closest("form")?.querySelectorAll("input") ?? []];
    const moments = fields.map((field) => before.read(field.value));
    actions.go({ utc: next });
    fields.forEach((field, index) => {
      const ms = moments[index];
      if (ms !== null) field.value = store.times.value.field(ms);
    });
  };
  return html`
    <div class="zone" role="group" aria-label="Zone of all times">
      <button type="button" aria-pressed=${!utc} onClick=${(/** @type {Event} */ event) => change(false, event)}>${local}</button>
      <button type="button" aria-pressed=${utc} onClick=${(/** @type {Event} */ event) => change(true, event)}>UTC</button>
    </div>`;
}
