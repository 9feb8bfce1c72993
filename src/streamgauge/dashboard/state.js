// @ts-check
/**
 * The page's signals and what can be done to them. What a message or a click does to the session is decided
 * in session.js; here the results are published, at most once a frame, and the rest is told.
 *
 * @typedef {ReturnType<typeof createStore>} Store
 */
import { computed, signal } from "@preact/signals-core";
import { colourSlots, labelled, openSince } from "./derive.js";
import {
  asked, firstJustCame, held, heldBack, linkWord, markedGap, newSession, released, resumed, shown, silence, standing,
} from "./session.js";
import { printAddress } from "./address.js";
import { timesIn } from "./times.js";

/**
 * @param {object} given
 * @param {import("./types.js").Address} given.address
 * @param {import("./types.js").Theme} given.theme
 * @param {boolean} given.keys  whether single keys do something
 * @param {() => number} given.clock
 * @param {(publish: () => void) => void} given.onFrame  calls back before the next picture, not in a hidden tab
 */
export function createStore({ address: firstAddress, theme: firstTheme, keys: firstKeys, clock, onFrame }) {
  let session = newSession(clock());
  let waiting = false;
  const published = signal(session);
  const now = signal(clock());
  const address = signal(firstAddress);
  const utc = computed(() => address.value.utc);
  /** Charts that are shown as tables. @type {import("@preact/signals").Signal<ReadonlySet<string>>} */
  const tables = signal(new Set());
  /** @type {import("@preact/signals").Signal<"keys" | "own-data" | import("./types.js").TailRow | null>} */
  const dialogue = signal(null);
  const state = computed(() => shown(published.value));
  /** @type {ReadonlyMap<string, number>} */
  let slots = new Map();

  const publish = () => {
    waiting = false;
    now.value = clock();
    published.value = session;
  };

  return {
    session: published, now, address, tables, dialogue, state,
    /** Which page is shown. @type {import("@preact/signals").Signal<import("./pages.js").Place>} */
    place: signal({ page: "overview", letter: null }),
    theme: signal(firstTheme),
    /** Counts changes of what colours look like. */
    colours: signal(0),
    keys: signal(firstKeys),
    choice: computed(() => address.value.choice),
    filter: computed(() => address.value.filter),
    /** The chart that is shown alone. */
    panel: computed(() => address.value.panel),
    times: computed(() => timesIn(utc.value)),
    link: computed(() => linkWord(published.value, now.value)),
    /** Which life of the server's view is shown: another server has another one. */
    epoch: computed(() => published.value.epoch),
    held: computed(() => published.value.held),
    standing: computed(() => standing(published.value)),
    heldBack: computed(() => heldBack(published.value)),
    loading: computed(() => published.value.loading),
    /** When the bucket that is still filling began, in seconds, or null. */
    openSince: computed(() => (state.value === null ? null : openSince(state.value))),
    gap: computed(() => markedGap(published.value, now.value)),
    firstJustCame: computed(() => firstJustCame(published.value, now.value)),
    silence: computed(() => silence(published.value, now.value)),
    /** Slots of colours by type; a type that stays in sight keeps its own. */
    slots: computed(() => {
      slots = colourSlots(state.value === null ? [] : labelled(state.value), slots);
      return slots;
    }),

    /** The newest session, drawn or not. */
    current: () => session,

    /** @param {import("./session.js").Session} next */
    become(next) {
      if (next === session) return;
      session = next;
      if (waiting) return;
      waiting = true;
      onFrame(publish);
    },

    tick() {
      now.value = clock();
    },

    /** @param {Partial<import("./types.js").Address>} change
     * @returns {"same" | "looks" | "data"} whether it is another one, and whether other data must be asked for */
    go(change) {
      const before = address.value;
      const next = { ...before, ...change };
      if (printAddress(next) === printAddress(before)) return "same";
      address.value = next;
      if (printAddress({ ...next, utc: before.utc, panel: before.panel }) === printAddress(before)) return "looks";
      this.become(asked(session));
      return "data";
    },

    togglePause() {
      this.become(standing(session) === "paused" ? resumed(session) : held(session, "pause", clock()));
    },

    /** The picture goes on, whatever held it. */
    resume() {
      this.become(resumed(session));
    },

    /** Hold the picture while something is being looked at. @param {import("./types.js").HoldReason} reason */
    hold(reason) {
      this.become(held(session, reason, clock()));
    },

    /** @param {import("./types.js").HoldReason} reason */
    release(reason) {
      this.become(released(session, reason));
    },

    /** Of one chart, or of all: tables if any is still a picture. @param {readonly string[]} panels */
    toggleTables(panels) {
      const next = new Set(tables.value);
      const open = panels.some((panel) => !next.has(panel));
      for (const panel of panels) open ? next.add(panel) : next.delete(panel);
      tables.value = next;
    },
  };
}
