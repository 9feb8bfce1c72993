// @ts-check
/**
 * What the page knows: the last state, how the link to the server is, and whether the picture is held.
 * Each function takes a session and gives the next one; none has an effect, a clock or a socket.
 *
 * @typedef {object} Session
 * @property {"connecting" | "open" | "lost" | "draining" | "refused"} link
 * @property {number} since  when the link came into this condition, epoch ms
 * @property {number} attempt  the reconnect that is being waited for; 0 before the first
 * @property {number} retryMs  when draining: what the server announced
 * @property {string} reason  when refused: why
 * @property {string | null} epoch
 * @property {number} version
 * @property {import("./types.js").State | null} latest
 * @property {Held | null} held  what is shown while the picture stands still
 * @property {{from: number, to: number, at: number} | null} gap  the span that the last loss of the link left out, and
 *   when it was filled in; epoch ms
 * @property {{updates: number, at: number} | null} thinned  how many updates were left out since this page falls behind
 *   again and again, and when the last of them was; epoch ms
 * @property {number | null} firstAt  when the very first event came, if this page saw it come
 * @property {boolean} loading  another range was asked for and has not come yet
 * @property {number} heardAt  when the last message came, epoch ms
 * @property {number} lagMs  from the server's reading to this page, smoothed
 * @property {number | null} skewMs  least difference of the two clocks that was seen
 *
 * @typedef {{at: number, state: import("./types.js").State, reasons: readonly HoldReason[]}} Held
 * @typedef {import("./types.js").HoldReason} HoldReason
 */
import { applyPatch, PatchError } from "./patch.js";

/** Clocks that differ by less are taken as one; the lag is then what it seems to be. */
const CLOCKS_AGREE_MS = 2_000;
/** A loss shorter than this is not worth a word. */
const QUIET_LOSS_MS = 1_000;
/** A restart that takes longer than announced by this much is no restart any more. */
const DRAIN_PATIENCE_MS = 20_000;
/** A view that has heard nothing for so long says so. */
const QUIET_AFTER_MS = 10_000;
/** What was missed is marked for so long after it was filled in. */
const GAP_SHOWN_MS = 8_000;
/** For so long the page says that updates were left out. */
const THINNED_SHOWN_MS = 10_000;
/** For so long the page says that the first event has come. */
const FIRST_SHOWN_MS = 6_000;

/** @param {number} now @returns {Session} */
export function newSession(now) {
  return {
    link: "connecting", since: now, attempt: 0, retryMs: 0, reason: "", epoch: null, version: 0, latest: null,
    held: null, gap: null, thinned: null, firstAt: null, loading: true, heardAt: now, lagMs: 0, skewMs: null,
  };
}

/** A snapshot came, as the answer to a join.
 * @param {Session} session @param {import("./types.js").Snapshot} snapshot @param {number} now @returns {Session} */
export function replaced(session, snapshot, now) {
  const { epoch, version, state } = snapshot;
  const since = session.link === "open" ? session.since : now;
  const next = { ...session, link: /** @type {const} */ ("open"), since, attempt: 0, loading: false };
  const gap = missed(session, state, now) ?? session.gap;
  return heard({ ...next, gap, epoch, version, latest: state, firstAt: firstAt(session, state, now) }, now);
}

/** A snapshot came because this viewer had fallen behind: the updates up to it were left out.
 * @param {Session} session @param {import("./types.js").Snapshot} snapshot @param {number} now @returns {Session} */
export function skipped(session, snapshot, now) {
  const next = replaced(session, snapshot, now);
  if (session.latest === null || snapshot.epoch !== session.epoch || snapshot.version <= session.version) return next;
  const updates = (isThinned(session, now) ? session.thinned?.updates ?? 0 : 0) + snapshot.version - session.version;
  return { ...next, thinned: { updates, at: now } };
}

/** A diff came. Null when it does not follow on what is here: the caller then asks for a fresh snapshot.
 * @param {Session} session @param {import("./types.js").Diff} diff @param {number} now @returns {Session | null} */
export function advanced(session, diff, now) {
  if (session.latest === null || diff.epoch !== session.epoch || diff.from !== session.version) return null;
  try {
    const latest = applyPatch(session.latest, diff.patch);
    return heard({ ...session, version: diff.version, latest, firstAt: firstAt(session, latest, now) }, now);
  } catch (error) {
    if (error instanceof PatchError) return null;
    throw error;
  }
}

/** The link broke. @param {Session} session @param {number} now @returns {Session} */
export function lost(session, now) {
  if (session.link !== "open" && session.link !== "refused") return session;
  return { ...session, link: "lost", since: now, attempt: 0 };
}

/** The next reconnect is waited for. @param {Session} session @param {number} attempt @returns {Session} */
export function retrying(session, attempt) {
  return { ...session, attempt };
}

/** The server said that it restarts. @param {Session} session @param {number} retryMs @param {number} now @returns {Session} */
export function draining(session, retryMs, now) {
  return { ...session, link: "draining", since: now, retryMs, attempt: 0 };
}

/** The server does not give this view. @param {Session} session @param {string} reason @param {number} now @returns {Session} */
export function refused(session, reason, now) {
  return { ...session, link: "refused", since: now, reason, loading: false };
}

/** Another range was asked for: what is shown stays, dimmed, and is no longer held.
 * @param {Session} session @returns {Session} */
export function asked(session) {
  return { ...session, loading: true, held: null };
}

/** Hold the picture; data goes on arriving. It stands still until every reason is gone.
 * @param {Session} session @param {HoldReason} reason @param {number} now @returns {Session} */
export function held(session, reason, now) {
  if (session.held === null) {
    return session.latest === null ? session : { ...session, held: { at: now, state: session.latest, reasons: [reason] } };
  }
  if (session.held.reasons.includes(reason)) return session;
  return { ...session, held: { ...session.held, reasons: [...session.held.reasons, reason] } };
}

/** One reason to hold the picture is gone. @param {Session} session @param {HoldReason} reason @returns {Session} */
export function released(session, reason) {
  if (session.held === null || !session.held.reasons.includes(reason)) return session;
  const reasons = session.held.reasons.filter((one) => one !== reason);
  return { ...session, held: reasons.length === 0 ? null : { ...session.held, reasons } };
}

/** Whatever held the picture, it moves on. @param {Session} session @returns {Session} */
export function resumed(session) {
  return { ...session, held: null };
}

/** Whether the viewer has paused, or something that they do holds the picture for a moment.
 * @param {Session} session @returns {"paused" | "held" | null} */
export function standing(session) {
  if (session.held === null) return null;
  return session.held.reasons.includes("pause") ? "paused" : "held";
}

/** What is on the screen. @param {Session} session */
export function shown(session) {
  return session.held === null ? session.latest : session.held.state;
}

/** How many events came since the picture is held. @param {Session} session */
export function heldBack(session) {
  if (session.held === null || session.latest === null) return 0;
  return Math.max(0, session.latest.total_events - session.held.state.total_events);
}

/**
 * What the page says about the link. A loss under a second, and a restart that was announced, are no alarm.
 * @param {Session} session @param {number} now
 * @returns {"connecting" | "live" | "thinned" | "fixed" | "quiet" | "reconnecting" | "draining" | "refused"}
 */
export function linkWord(session, now) {
  if (session.link === "refused") return "refused";
  if (session.link === "connecting") return now - session.since < 5_000 ? "connecting" : "reconnecting";
  const down = now - session.since;
  if (session.link === "draining" && down < session.retryMs + DRAIN_PATIENCE_MS) return "draining";
  if (session.link !== "open" && down >= QUIET_LOSS_MS) return "reconnecting";
  if (session.latest !== null && !session.latest.range.live) return "fixed";
  if (now - session.heardAt > QUIET_AFTER_MS) return "quiet";
  return isThinned(session, now) ? "thinned" : "live";
}

/** The span that is marked as not received, for some seconds after it was filled in.
 * @param {Session} session @param {number} now */
export function markedGap(session, now) {
  return session.gap !== null && now - session.gap.at < GAP_SHOWN_MS ? session.gap : null;
}

/** Whether updates were left out only just now. @param {Session} session @param {number} now */
export function isThinned({ thinned }, now) {
  return thinned !== null && now - thinned.at < THINNED_SHOWN_MS;
}

/** Whether the first event has only just come. @param {Session} session @param {number} now */
export function firstJustCame(session, now) {
  return session.firstAt !== null && now - session.firstAt < FIRST_SHOWN_MS;
}

/** How old the newest message is, once that is worth a word; else null. @param {Session} session @param {number} now */
export function silence(session, now) {
  const age = now - session.heardAt;
  return session.latest !== null && age > QUIET_AFTER_MS ? age : null;
}

/** @param {Session} session @param {import("./types.js").State} state @param {number} now */
function missed(session, state, now) {
  const cutOff = session.link === "lost" || session.link === "draining";
  if (!cutOff || session.latest === null || now - session.since < QUIET_LOSS_MS) return null;
  return { from: session.latest.as_of, to: state.as_of, at: now };
}

/** @param {Session} session @param {import("./types.js").State} state @param {number} now */
function firstAt(session, state, now) {
  return session.latest?.total_events === 0 && state.total_events > 0 ? now : session.firstAt;
}

/** @param {Session} session @param {number} now @returns {Session} */
function heard(session, now) {
  if (session.latest === null) return session;
  const apparent = now - session.latest.as_of;
  const skewMs = session.skewMs === null ? apparent : Math.min(session.skewMs, apparent);
  const agree = Math.abs(skewMs) < CLOCKS_AGREE_MS;
  const current = Math.max(0, agree ? apparent : apparent - skewMs);
  const first = session.skewMs === null;
  return { ...session, heardAt: now, skewMs, lagMs: first ? current : session.lagMs * 0.7 + current * 0.3 };
}
