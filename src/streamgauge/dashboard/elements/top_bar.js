// @ts-check
/** Name and place, the range, pause, the state of the link, the theme. */
import { lag, stretch } from "../format.js";
import { html } from "../html.js";
import { ALL, PRESETS } from "../range.js";
import { THEMES } from "../theme.js";

/** @typedef {{store: import("../state.js").Store, actions: any}} Props */

/** @param {Props} props */
export function TopBar({ store, actions }) {
  const demo = store.state.value?.demo ?? null;
  return html`
    <header class="top-bar">
      <div class="place">
        <${Mark} /><strong>Streamgauge</strong>
        <nav aria-label="Place"><span>${demo ?? "workspace"}</span><span aria-hidden="true">▸</span><span aria-current="page">Overview</span></nav>
        ${demo !== null && html`<button class="demo" onClick=${() => { store.dialogue.value = "own-data"; }}>Demo <span>· use my own data</span></button>`}
      </div>
      <div class="controls">
        <${RangeBar} store=${store} actions=${actions} />
        <${PauseButton} store=${store} />
      </div>
      <div class="status">
        <${Link} store=${store} />
        <${ThemeButton} store=${store} actions=${actions} />
        <button class="quiet icon" aria-label="Keys" title="Keys (?)" onClick=${() => { store.dialogue.value = "keys"; }}>?</button>
      </div>
    </header>`;
}

function Mark() {
  return html`
    <svg class="mark" viewBox="0 0 24 24" aria-hidden="true">
      <path d="M3 8.5c3-2.6 6-2.6 9 0s6 2.6 9 0" /><path d="M3 14.5c3-2.6 6-2.6 9 0s6 2.6 9 0" /><path d="M12 3v18" />
    </svg>`;
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
          title="${words}${index < 6 ? ` (${index + 1})` : ""}" onClick=${() => actions.chooseRange({ preset: name })}>${name}</button>`)}
      ${!("preset" in choice) && html`
        <button class="fixed-range" aria-pressed="true" title="Leave this range (Esc)" onClick=${() => actions.chooseRange({ preset: "15m" })}>
          ${stretch(choice.from, choice.to, store.now.value)}<span aria-hidden="true"> ✕</span><span class="unseen">: leave this range</span>
        </button>`}
    </div>`;
}

/** @param {{store: import("../state.js").Store}} props */
function PauseButton({ store }) {
  const held = store.held.value !== null;
  return html`
    <button class="pause" aria-pressed=${held} disabled=${!store.state.value?.total_events} title="${held ? "Resume" : "Pause"} (Space)" onClick=${() => store.togglePause()}>
      <svg viewBox="0 0 12 12" aria-hidden="true"><path d=${held ? "M3 1.5v9l7-4.5z" : "M2.5 1.5h2.4v9H2.5zM7.1 1.5h2.4v9H7.1z"} /></svg>
      <span>${held ? "Resume" : "Pause"}</span>
    </button>`;
}

/** @param {{store: import("../state.js").Store}} props */
function Link({ store }) {
  const link = store.link.value;
  const { session, now } = store;
  // a held picture must not look live, whatever the link does
  const word = store.held.value !== null && ["live", "fixed", "quiet"].includes(link) ? "paused" : link;
  const seen = {
    connecting: ["◌", "Connecting"],
    live: ["●", `Live · ${lag(session.value.lagMs)}`],
    fixed: ["●", "Fixed range"],
    paused: ["❚❚", "Paused"],
    quiet: ["◌", `Quiet · ${lag(now.value - session.value.heardAt)}`],
    reconnecting: ["▲", "Reconnecting"],
    draining: ["◌", "Restarting"],
    refused: ["■", "Refused"],
  }[word];
  return html`
    <span class="link is-${word}" title="From the server's reading to this page. A quiet link has had nothing to say for a while.">
      <i aria-hidden="true">${seen[0]}</i><span>${seen[1]}</span>
    </span>
    <span class="unseen" role="status">${word}</span>`;
}

/** @param {Props} props */
function ThemeButton({ store, actions }) {
  const theme = store.theme.value;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const paths = {
    system: "M2 3h12v8H2zM6 14h4M8 11v3",
    light: "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
    dark: "M13.5 9.7A6 6 0 0 1 6.3 2.5a6 6 0 1 0 7.2 7.2z",
  };
  return html`
    <button class="quiet icon" aria-label="Theme: ${theme}; change to ${next}" title="Theme: ${theme}" onClick=${() => actions.chooseTheme(next)}>
      <svg viewBox="0 0 16 16" aria-hidden="true"><path d=${paths[theme]} /></svg>
    </button>`;
}
