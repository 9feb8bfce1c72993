// @ts-check
/** What the server's API answers, as part of an element: fetched, fetched again, or why not. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "../request.js";
import { USUAL_FIELDS } from "../snippets.js";

/**
 * The answer's text stays while it is asked for again.
 * @param {string} path @param {{everyMs?: number, key?: string}} [when]  key: asks again when it changes
 * @returns {{text: string | null, problem: string | null, retry: () => void}}
 */
export function useFetched(path, { everyMs = 0, key = "" } = {}) {
  const text = useSignal(/** @type {string | null} */ (null));
  const problem = useSignal(/** @type {string | null} */ (null));
  const turn = useSignal(0);
  useEffect(() => {
    const ending = new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const fetchOnce = async () => {
      try {
        // nobody reads a hidden page
        if (everyMs === 0 || !document.hidden) text.value = await ask(path, { signal: ending.signal });
        problem.value = null;
      } catch (error) {
        if (ending.signal.aborted) return;
        problem.value = error instanceof Error ? error.message : String(error);
      }
      if (everyMs > 0 && !ending.signal.aborted) timer = setTimeout(fetchOnce, everyMs);
    };
    fetchOnce();
    return () => {
      ending.abort();
      clearTimeout(timer);
    };
  }, [path, key, turn.value]);
  return { text: text.value, problem: problem.value, retry: () => { turn.value += 1; } };
}

/**
 * The names that this server gives to the parts of an event; asked for again when the link to it has changed, and when
 * another server answers, which can be so soon that the link seems never to have been away.
 * @param {import("../state.js").Store} store
 * @returns {{fields: import("../snippets.js").Fields, known: boolean}} known: false while there is no answer; a server that
 *   does not say has the usual names
 */
export function useFields(store) {
  const { text, problem } = useFetched("api/sources", { key: `${store.link.value} ${store.epoch.value}` });
  return { fields: text === null ? USUAL_FIELDS : JSON.parse(text).fields, known: text !== null || problem !== null };
}
