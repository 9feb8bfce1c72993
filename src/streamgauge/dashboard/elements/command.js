// @ts-check
/** Lines for a terminal or an editor, with a button that copies them. */
import { useSignal } from "@preact/signals";
import { html } from "../html.js";

const COPIED_MS = 2_000;

/** @param {{text: string, label: string}} props */
export function Command({ text, label }) {
  const copied = useSignal("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      copied.value = "Copied";
    } catch (error) {
      // the clipboard is there only on https and localhost, or when it is allowed
      console.info("could not copy:", error);
      copied.value = "Select and copy";
    }
    setTimeout(() => { copied.value = ""; }, COPIED_MS);
  };
  return html`
    <div class="command">
      <pre tabindex="0"><code>${text}</code></pre>
      <button onClick=${copy} aria-label=${copied.value ? undefined : label}><span aria-live="polite">${copied.value || "Copy"}</span></button>
    </div>`;
}
