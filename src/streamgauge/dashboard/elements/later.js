// @ts-check
/** Pages that are fetched when the overview has been drawn, or when they are asked for: it does not wait for them. */
import { signal } from "@preact/signals";
import { html } from "../html.js";
import { PageProblem } from "./page_problem.js";

/** @typedef {(props: any) => any} Component */

/**
 * A component that stands for one in another module.
 * @param {() => Promise<Component>} fetchPage @param {string} what  what it is, to begin a sentence
 * @returns {Component & {fetch: () => void}}
 */
export function later(fetchPage, what) {
  /** @type {import("@preact/signals").Signal<{page: Component} | {problem: string} | null>} */
  const found = signal(null);
  let underWay = false;

  function fetchOnce() {
    if (underWay) return;
    underWay = true;
    found.value = null;
    fetchPage().then(
      (page) => {
        const focused = document.activeElement?.localName === "main";
        found.value = { page };
        if (focused) requestAnimationFrame(() => document.querySelector("main")?.focus({ preventScroll: true }));
      },
      (error) => {
        underWay = false;
        found.value = { problem: error instanceof Error ? error.message : String(error) };
      },
    );
  }

  /** @param {any} props */
  function Later(props) {
    const now = found.value;
    if (now !== null && "page" in now) return html`<${now.page} ...${props} />`;
    if (now === null) fetchOnce();
    return html`
      <main class="page" tabindex="-1" aria-busy=${now === null}>
        ${now !== null && html`<${PageProblem} what=${what} problem=${now.problem} retry=${fetchOnce} />`}
      </main>`;
  }
  return Object.assign(Later, { fetch: fetchOnce });
}
