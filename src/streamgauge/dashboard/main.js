// @ts-check
/** Wiring: the only module that knows the link, the store, the keys and the page at once. */
import { effect } from "@preact/signals-core";
import { render } from "preact";
import { CHARTS, parseAddress, printAddress } from "./address.js";
import { html } from "./html.js";
import { keep } from "./kept.js";
import { listenForKeys } from "./keys.js";
import { clock, extent, live, store } from "./live.js";
import { shifted, zoomed } from "./navigate.js";
import { parsePlace, printPlace } from "./pages.js";
import { DEFAULT_PRESET } from "./range.js";
import { asked } from "./session.js";
import { applyTheme, watchSystemTheme } from "./theme.js";
import { tabTitle } from "./title.js";
import { App, fetchOtherPages } from "./elements/app.js";

const TICK_MS = 500;
/** When the overview has long been drawn. */
const OTHERS_AFTER_MS = 2_000;
/** What keys do on every page; the others are the overview's. */
const ANYWHERE = new Set(["help", "copy"]);

const actions = {
  /** Another range, filter or zone: the address says it, and the server is asked where it must be.
   * @param {Partial<import("./types.js").Address>} change */
  go(change) {
    const changed = store.go(change);
    if (changed === "same") return;
    history.pushState(null, "", printAddress(store.address.value) + printPlace(store.place.value));
    if (changed === "data") live.join();
  },

  /** Another page, or another letter of it. @param {import("./pages.js").Place} place */
  visit(place) {
    history.pushState(null, "", `${location.pathname}${location.search}${printPlace(place)}`);
    arrive();
  },

  /** @param {import("./types.js").Theme} theme */
  chooseTheme(theme) {
    store.theme.value = theme;
    applyTheme(theme);
    store.colours.value += 1;
  },

  /** @param {boolean} on */
  chooseKeys(on) {
    store.keys.value = on;
    keep("keys", on ? "on" : "off");
  },

  retryNow: () => live.retryNow(),

  /** Ask for everything once more. */
  refresh() {
    store.become(asked(store.current()));
    live.join();
  },
};

/** Show what the address names behind its `#`; who goes by keyboard or screen reader begins at the top of it. */
function arrive() {
  const before = store.place.value.page;
  store.place.value = parsePlace(location.hash);
  if (store.place.value.page === before) return;
  store.dialogue.value = null;
  store.resume();
  scrollTo(0, 0);
  requestAnimationFrame(() => document.querySelector("main")?.focus({ preventScroll: true }));
}

/** What Esc does while nothing lies over the page: the last narrowing goes first. */
function close() {
  if (store.panel.value !== null) actions.go({ panel: null });
  else if (store.filter.value !== null) actions.go({ filter: null });
  else if (!("preset" in store.choice.value)) actions.go({ choice: { preset: DEFAULT_PRESET } });
}

/** @param {import("./types.js").Choice | null} choice null: there is nowhere to go */
function move(choice) {
  if (choice !== null) actions.go({ choice });
}

/** @param {import("./keys.js").Action} action @returns {boolean | void} false: it means nothing on this page */
function act(action) {
  const range = store.current().latest?.range;
  if (action.do === "visit") actions.visit({ page: action.page, letter: null });
  else if (!ANYWHERE.has(action.do) && store.place.value.page !== "overview") return false;
  else if (action.do === "pause") store.togglePause();
  else if (action.do === "tables") toggleTables();
  else if (action.do === "full") toggleFull();
  else if (action.do === "help") store.dialogue.value = "keys";
  else if (action.do === "preset") move({ preset: action.preset });
  else if (action.do === "refresh") actions.refresh();
  else if (action.do === "filter") document.querySelector(/** @type {"button"} */ (".top-list li button"))?.focus();
  else if (action.do === "copy") copyAddress();
  else if (action.do === "close") close();
  else if (range === undefined) return;
  else if (action.do === "shift") move(shifted(range, action.direction, clock()));
  else if (action.do === "zoom") move(zoomed(store.choice.value, range, action.way, extent()));
}

function tellTitle() {
  const title = tabTitle(store.current(), store.place.value.page, clock());
  if (title !== document.title) document.title = title;
}

/** The chart that the viewer is in by keyboard, or points at. @returns {HTMLElement | null} */
function chartInHand() {
  const at = document.activeElement?.closest("[data-panel]") ?? document.querySelector("[data-panel]:hover");
  return /** @type {HTMLElement | null} */ (at);
}

/** Of the chart in hand, or else of all. Who is in it by keyboard stays in it. */
function toggleTables() {
  const chart = chartInHand();
  const isInside = chart?.contains(document.activeElement);
  store.toggleTables(chart?.dataset.panel ? [chart.dataset.panel] : CHARTS);
  if (isInside) requestAnimationFrame(() => /** @type {HTMLElement | null} */ (chart?.querySelector(".plot, .table-box"))?.focus());
}

/** One chart alone, or all again. */
function toggleFull() {
  const panel = store.panel.value === null ? chartInHand()?.dataset.panel ?? null : null;
  actions.go({ panel });
}

function copyAddress() {
  navigator.clipboard?.writeText(location.href).catch((error) => console.info("could not copy:", error));
}

listenForKeys(act, () => store.keys.value);
addEventListener("popstate", () => {
  arrive();
  if (store.go(parseAddress(location.search)) === "data") live.join();
});
document.addEventListener("selectionchange", () => {
  const selection = document.getSelection();
  const marked = selection !== null && !selection.isCollapsed && selection.anchorNode?.parentElement?.closest(".page");
  if (marked && store.place.value.page === "overview") store.hold("selection");
  else store.release("selection");
});
watchSystemTheme(() => {
  store.colours.value += 1;
});
setInterval(() => {
  store.tick();
  // a hidden tab is drawn no more, but its title is seen
  tellTitle();
}, TICK_MS);
effect(() => {
  store.session.value;
  tellTitle();
});
store.place.value = parsePlace(location.hash);

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app to draw into");
render(html`<${App} store=${store} actions=${actions} />`, root);
setTimeout(fetchOtherPages, OTHERS_AFTER_MS);
