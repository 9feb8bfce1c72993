// @ts-check
/** In place of a page, or above it: that the server did not give it, why, and another try. */
import { html } from "../html.js";

/** @param {{what: string, problem: string, retry: () => void}} props */
export function PageProblem({ what, problem, retry }) {
  return html`
    <section class="page-problem" role="alert">
      <p><b>▲ ${what} could not be fetched.</b> ${problem}</p><button onClick=${retry}>Retry</button>
    </section>`;
}
