// @ts-check
/**
 * The store and the link that feeds it. On its own, and without anything that draws: the page loads it first, so that
 * the first numbers are on their way while the rest still comes.
 */
import { parseAddress } from "./address.js";
import { kept } from "./kept.js";
import { ALL, joinParams } from "./range.js";
import { advanced, draining, lost, refused, replaced, retrying, skipped } from "./session.js";
import { LiveView } from "./socket.js";
import { createStore } from "./state.js";
import { storedTheme } from "./theme.js";

export const clock = () => Date.now();
export const store = createStore({
  address: parseAddress(location.search),
  theme: storedTheme(),
  keys: kept("keys") !== "off",
  clock,
  onFrame: (publish) => requestAnimationFrame(publish),
});
/** The times of all data there is, as far as this page knows. */
export const extent = () => store.current().latest?.extent ?? null;

export const live = new LiveView(
  // relative to the page, so that it works below a path too
  new URL("socket", document.baseURI).href.replace(/^http/, "ws"),
  () => joinParams(store.choice.value, extent(), store.filter.value),
  {
    snapshot(snapshot) {
      const knewExtent = extent() !== null;
      store.become(replaced(store.current(), snapshot, clock()));
      const choice = store.choice.value;
      // "all" can be asked for only once it is known how much that is
      if ("preset" in choice && choice.preset === ALL && !knewExtent && extent() !== null) live.join();
    },
    skipped: (snapshot) => store.become(skipped(store.current(), snapshot, clock())),
    diff(diff) {
      const next = advanced(store.current(), diff, clock());
      if (next !== null) store.become(next);
      return next !== null;
    },
    lost: () => store.become(lost(store.current(), clock())),
    retrying: (attempt) => store.become(retrying(store.current(), attempt)),
    draining: (retryMs) => store.become(draining(store.current(), retryMs, clock())),
    refused: (reason) => store.become(refused(store.current(), reason, clock())),
  },
);

live.open();
