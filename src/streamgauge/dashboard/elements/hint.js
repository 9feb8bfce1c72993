// @ts-check
/** A small "?" that says what a number means, on hover and on focus. */
import { useId } from "preact/hooks";
import { html } from "../html.js";

/** @param {{words: string, of: string}} props */
export function Hint({ words, of }) {
  const id = useId();
  return html`
    <span class="hint">
      <button type="button" aria-label="What is ${of}?" aria-describedby=${id}>?</button>
      <span class="hint-words" role="tooltip" id=${id}>${words}</span>
    </span>`;
}
