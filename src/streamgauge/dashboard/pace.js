// @ts-check
/**
 * The unit in which a rate can be read: per second where events are many or steps short, otherwise per minute, hour or
 * day, so that slow data has numbers like 11.9/h and not 0.00331/s. Pure.
 *
 * @typedef {{seconds: number, word: string, sign: string}} Pace
 */
import { peakOf, perSecond } from "./derive.js";

/** @type {readonly Pace[]} */
const PACES = Object.freeze([
  { seconds: 1, word: "second", sign: "/s" },
  { seconds: 60, word: "minute", sign: "/min" },
  { seconds: 3_600, word: "hour", sign: "/h" },
  { seconds: 86_400, word: "day", sign: "/day" },
]);
/** From so many events a second on, and in steps shorter than a minute, seconds it is. */
const MANY_PER_S = 0.5;
/** The busiest moment of the range is at least this, in the unit that is chosen. */
const LEAST = 1;

/** Chosen by the busiest step, so that it seldom changes while data moves.
 * @param {import("./types.js").State | null} state @returns {Pace} */
export function paceOf(state) {
  const [second, minute, hour, day] = PACES;
  if (state === null || state.range.step_ms < 60_000) return second;
  const peak = peakOf(perSecond(state, state.series.count ?? [])) ?? 0;
  if (peak === 0 || peak >= MANY_PER_S) return second;
  const stepS = state.range.step_ms / 1000;
  const least = stepS >= day.seconds ? day : stepS >= hour.seconds ? hour : minute;
  return PACES.slice(PACES.indexOf(least)).find(({ seconds }) => peak * seconds >= LEAST) ?? day;
}

/** @param {import("./types.js").Column} perS @param {Pace} pace @returns {import("./types.js").Column} */
export function atPace(perS, { seconds }) {
  return seconds === 1 ? perS : perS.map((value) => (value === null ? null : value * seconds));
}
