// @ts-check
/** A button that asks before it does something, in its own place, and says why it did not work. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { html } from "../html.js";

/** @param {{label: string, question: string, yes: string, act: () => Promise<void>, danger?: boolean}} props */
export function Confirmed({ label, question, yes, act, danger }) {
  const asking = useSignal(false);
  const working = useSignal(false);
  const problem = useSignal("");
  const opener = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const answer = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const wasAsking = useRef(false);
  useEffect(() => {
    if (asking.value) answer.current?.focus();
    else if (wasAsking.current) opener.current?.focus();
    wasAsking.current = asking.value;
  }, [asking.value]);
  const run = async () => {
    working.value = true;
    problem.value = "";
    try {
      await act();
      asking.value = false;
    } catch (error) {
      problem.value = error instanceof Error ? error.message : String(error);
    } finally {
      working.value = false;
    }
  };
  if (!asking.value) return html`<button ref=${opener} onClick=${() => { asking.value = true; }}>${label}</button>`;
  return html`
    <span class="confirm" role="group" aria-label=${question}>
      <span>${question}</span>
      <button ref=${answer} class=${danger ? "danger" : "primary"} disabled=${working.value} onClick=${run}>${working.value ? "…" : yes}</button>
      <button disabled=${working.value} onClick=${() => { asking.value = false; }}>Keep</button>
      <span class="problem-words" role="alert">${problem.value}</span>
    </span>`;
}
