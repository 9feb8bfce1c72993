// @ts-check
/** Wiring: the only module that knows the socket, the store, the keys and the page at once. */
import { render } from "preact";
import { html } from "./html.js";
import { listenForKeys } from "./keys.js";
import { ALL, joinParams, parseRange, printRange } from "./range.js";
import { advanced, draining, lost, refused, replaced, retrying } from "./session.js";
import { LiveView } from "./socket.js";
import { createStore } from "./state.js";
import { applyTheme, storedTheme, watchSystemTheme } from "./theme.js";
import { App, CHARTS } from "./elements/app.js";
import { rate } from "./format.js";

const TICK_MS = 500;

const clock = () => Date.now();
const store = createStore({
  choice: parseRange(location.search),
  theme: storedTheme(),
  clock,
  onFrame: (publish) => requestAnimationFrame(publish),
});
const extent = () => store.current().latest?.extent ?? null;

const live = new LiveView(
  // relative to the page, so that it works below a path too
  new URL("socket", document.baseURI).href.replace(/^http/, "ws"),
  () => joinParams(store.choice.value, extent()),
  {
    snapshot(snapshot) {
      const knewExtent = extent() !== null;
      store.become(replaced(store.current(), snapshot, clock()));
      const choice = store.choice.value;
      // "all" can be asked for only once it is known how much that is
      if ("preset" in choice && choice.preset === ALL && !knewExtent && extent() !== null) live.join();
    },
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

/** @param {import("./types.js").Choice} choice */
function chooseRange(choice) {
  if (!store.choose(choice)) return;
  history.pushState(null, "", printRange(choice));
  live.join();
}

/** @param {import("./types.js").Theme} theme */
function chooseTheme(theme) {
  store.theme.value = theme;
  applyTheme(theme);
  store.colours.value += 1;
}

function close() {
  if (!("preset" in store.choice.value)) chooseRange({ preset: "15m" });
}

listenForKeys((action) => {
  if (action.do === "pause") store.togglePause();
  else if (action.do === "tables") store.toggleTables(CHARTS);
  else if (action.do === "help") store.dialogue.value = "keys";
  else if (action.do === "preset") chooseRange({ preset: action.preset });
  else close();
});

addEventListener("popstate", () => {
  if (store.choose(parseRange(location.search))) live.join();
});
watchSystemTheme(() => {
  store.colours.value += 1;
});
setInterval(() => store.tick(), TICK_MS);
store.state.subscribe((state) => {
  document.title = state === null || state.total_events === 0 ? "Streamgauge" : `${rate(state.rate)} · Streamgauge`;
});

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app to draw into");
render(html`<${App} store=${store} actions=${{ chooseRange, chooseTheme, retryNow: () => live.retryNow() }} />`, root);
live.open();
