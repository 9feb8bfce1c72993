// @ts-check
/**
 * The page's signals and what can be done to them. What a message or a click does to the session is decided
 * in session.js; here the results are published, at most once a frame, and the rest is told.
 *
 * @typedef {ReturnType<typeof createStore>} Store
 */
import { computed, signal } from "@preact/signals";
import { asked, heldBack, linkWord, newSession, paused, resumed, shown } from "./session.js";
import { sameChoice } from "./range.js";

/**
 * @param {object} given
 * @param {import("./types.js").Choice} given.choice
 * @param {import("./types.js").Theme} given.theme
 * @param {() => number} given.clock
 * @param {(publish: () => void) => void} given.onFrame  calls back before the next picture, not in a hidden tab
 */
export function createStore({ choice: firstChoice, theme: firstTheme, clock, onFrame }) {
  let session = newSession(clock());
  let waiting = false;
  const published = signal(session);
  const now = signal(clock());
  const choice = signal(firstChoice);
  const theme = signal(firstTheme);
  /** Counts changes of what colours look like. */
  const colours = signal(0);
  /** Charts that are shown as tables. @type {import("@preact/signals").Signal<ReadonlySet<string>>} */
  const tables = signal(new Set());
  /** @type {import("@preact/signals").Signal<"keys" | "own-data" | null>} */
  const dialogue = signal(null);
  const state = computed(() => shown(published.value));

  const publish = () => {
    waiting = false;
    now.value = clock();
    published.value = session;
  };

  return {
    session: published, now, choice, theme, colours, tables, dialogue, state,
    link: computed(() => linkWord(published.value, now.value)),
    heldBack: computed(() => heldBack(published.value)),
    held: computed(() => published.value.held),
    loading: computed(() => published.value.loading),

    /** The newest session, drawn or not. */
    current: () => session,

    /** @param {import("./session.js").Session} next */
    become(next) {
      session = next;
      if (waiting) return;
      waiting = true;
      onFrame(publish);
    },

    tick() {
      now.value = clock();
    },

    /** @param {import("./types.js").Choice} next @returns {boolean} whether it is another one */
    choose(next) {
      if (sameChoice(next, choice.value)) return false;
      choice.value = next;
      this.become(asked(session));
      return true;
    },

    togglePause() {
      this.become(session.held === null ? paused(session, clock()) : resumed(session));
    },

    /** Of one chart, or of all: tables if any is still a picture. @param {string[]} panels */
    toggleTables(panels) {
      const next = new Set(tables.value);
      const open = panels.some((panel) => !next.has(panel));
      for (const panel of panels) open ? next.add(panel) : next.delete(panel);
      tables.value = next;
    },
  };
}
