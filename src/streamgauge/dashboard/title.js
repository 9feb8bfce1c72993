// @ts-check
/** What the tab says, which is all that is seen of a page in the background: it must not look live when it is not. Pure. */
import { rate } from "./format.js";
import { titleOf } from "./pages.js";
import { linkWord, standing } from "./session.js";

const NAME = "Streamgauge";
/** @type {Readonly<Record<string, string>>} */
const WORDS = Object.freeze({ reconnecting: "▲ Reconnecting", draining: "Restarting", refused: "■ Refused", quiet: "Quiet" });

/** @param {import("./session.js").Session} session the newest, drawn or not @param {import("./pages.js").PageName} page
 * @param {number} now @returns {string} */
export function tabTitle(session, page, now) {
  const state = session.latest;
  const figure = state === null || state.total_events === 0 ? "" : rate(state.rate);
  const overview = standing(session) === "paused" ? "❚❚ Paused" : figure;
  const what = WORDS[linkWord(session, now)] ?? (page === "overview" ? overview : titleOf(page));
  return what === "" ? NAME : `${what} · ${NAME}`;
}
