// @ts-check
/** Name and place, the filter, the range, pause, the state of the link, the theme. */
import { compact, exact, lag } from "../format.js";
import { html } from "../html.js";
import { PAGES } from "../pages.js";
import { ALL, DEFAULT_PRESET, PRESETS } from "../range.js";
import { THEMES } from "../theme.js";
import { Mark, PlayIcon, ThemeIcon } from "./icons.js";
import { RangePopover } from "./range_popover.js";

/** @typedef {{store: import("../state.js").Store, actions: any}} Props */

/** @param {Props} props */
export function TopBar({ store, actions }) {
  const { page } = store.place.value;
  return html`
    <header class="top-bar">
      <div class="place">
        <${Mark} /><strong>Streamgauge</strong>
        ${page === "overview" && html`<${FilterChip} store=${store} actions=${actions} />`}
      </div>
      <${Pages} current=${page} />
      ${page === "overview" && html`<div class="controls">
        <${RangeBar} store=${store} actions=${actions} />
        <${PauseButton} store=${store} />
      </div>`}
      <div class="status">
        <${Link} store=${store} />
        <${ThemeButton} store=${store} actions=${actions} />
        <button class="quiet icon" aria-label="Keys" title="Keys (?)" onClick=${() => { store.dialogue.value = "keys"; }}>?</button>
      </div>
    </header>`;
}

/** @param {{current: import("../pages.js").PageName}} props */
function Pages({ current }) {
  return html`
    <nav class="pages" aria-label="Pages">
      ${PAGES.map(({ name, title, href, key }) => html`<a key=${name} href=${href} title="${title} (g ${key})" aria-current=${name === current ? "page" : undefined}>${title}</a>`)}
    </nav>`;
}

/** @param {Props} props */
function FilterChip({ store, actions }) {
  const filter = store.filter.value;
  if (filter === null) return null;
  return html`
    <button class="chip" title="Only ${filter}; clear the filter (Esc)" onClick=${() => actions.go({ filter: null })}>
      <span class="chip-name">type</span><span class="chip-value">${filter}</span><span aria-hidden="true">×</span><span class="unseen">: clear the filter</span>
    </button>`;
}

/** @param {Props} props */
function RangeBar({ store, actions }) {
  const choice = store.choice.value;
  const preset = "preset" in choice ? choice.preset : null;
  const extent = store.session.value.latest?.extent ?? null;
  return html`
    <div class="range" role="group" aria-label="Range">
      ${PRESETS.map(({ name, words }, index) => html`
        <button key=${name} aria-pressed=${preset === name} disabled=${name === ALL && extent === null}
          title="${words}${index < 6 ? ` (${index + 1})` : ""}" onClick=${() => actions.go({ choice: { preset: name } })}>${name}</button>`)}
      ${!("preset" in choice) && html`
        <button class="fixed-range" aria-pressed="true" title="Leave this range (Esc)" onClick=${() => actions.go({ choice: { preset: DEFAULT_PRESET } })}>
          <span class="fixed-words">${store.times.value.stretch(choice.from, choice.to, store.now.value)}</span><span aria-hidden="true">×</span><span class="unseen">: leave this range</span>
        </button>`}
      <${RangePopover} store=${store} actions=${actions} />
    </div>`;
}

/** @param {{store: import("../state.js").Store}} props */
function PauseButton({ store }) {
  const paused = store.standing.value === "paused";
  return html`
    <button class="pause" aria-pressed=${paused} disabled=${!store.state.value?.total_events} title="${paused ? "Resume" : "Pause"} (Space)" onClick=${() => store.togglePause()}>
      <${PlayIcon} stopped=${paused} /><span>${paused ? "Resume" : "Pause"}</span>
    </button>`;
}

/** @param {{store: import("../state.js").Store}} props */
function Link({ store }) {
  const link = store.link.value;
  const { session, now, standing, heldBack } = store;
  // a held picture must not look live, whatever the link does
  const word = standing.value !== null && ["live", "thinned", "fixed", "quiet"].includes(link) ? standing.value : link;
  const seen = {
    connecting: ["◌", "Connecting"],
    live: ["●", `Live · ${lag(session.value.lagMs)}`],
    thinned: ["▲", `Thinned · ${lag(session.value.lagMs)}`],
    fixed: ["●", "Fixed range"],
    paused: ["❚❚", "Paused"],
    held: ["❚❚", heldBack.value === 0 ? "Held" : `Held · +${compact(heldBack.value)}`],
    quiet: ["◌", `Quiet · ${lag(now.value - session.value.heardAt)}`],
    reconnecting: ["▲", "Reconnecting"],
    draining: ["◌", "Restarting"],
    refused: ["■", "Refused"],
  }[word];
  return html`
    <span class="link is-${word}" title=${word === "thinned" ? thinnedHint(session.value) : LINK_HINTS[word] ?? LINK_HINTS.live}>
      <i aria-hidden="true">${seen[0]}</i><span>${seen[1]}</span>
    </span>
    <span class="unseen" role="status">${word === "held" ? "" : word}</span>`;
}

/** @param {import("../session.js").Session} session */
function thinnedHint({ thinned }) {
  return `This page takes updates in more slowly than they come: ${exact(thinned?.updates)} were left out. What it shows is the newest; no event is missing from it`;
}

/** @type {Readonly<Record<string, string>>} */
const LINK_HINTS = Object.freeze({
  live: "WebSocket: the time from the server's reading to this page",
  held: "The picture stands still while you look at it; data goes on arriving",
  quiet: "The connection is open, but nothing has come over it for a while",
});

/** @param {Props} props */
function ThemeButton({ store, actions }) {
  const theme = store.theme.value;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  return html`
    <button class="quiet icon" aria-label="Theme: ${theme}; change to ${next}" title="Theme: ${theme}" onClick=${() => actions.chooseTheme(next)}>
      <${ThemeIcon} theme=${theme} />
    </button>`;
}
