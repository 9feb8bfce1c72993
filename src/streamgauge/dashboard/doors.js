// @ts-check
/**
 * Doors: what `/api/sources` says of them, with what the live view knows better, and how they stand in a word. Pure.
 *
 * @typedef {object} Door
 * @property {"http" | "websocket" | "mqtt" | "cloudevents" | "python" | "files" | "other"} kind
 * @property {string} name
 * @property {string} source  under which the ledger counts what comes by it
 * @property {boolean} own  whether the counts are since the server was started, beside the ledger's
 * @property {number} received
 * @property {number} rejected
 * @property {number} duplicate
 * @property {number | null} rate  null: not measured yet
 * @property {number | null} rejected_rate
 * @property {number | null} last_ms
 * @property {string | null} last_problem
 * @property {string} [url]
 * @property {boolean} [connected]
 * @property {string[]} [problems]
 * @property {string[]} [topics]
 * @property {string} [example]
 * @property {string} [type_field]
 *
 * @typedef {{as_of: number, started_at: number, fields: import("./snippets.js").Fields, doors: Door[]}} DoorList
 */

/** An event that came within so long makes its door active. */
const ACTIVE_MS = 10_000;

/** A door with what the live view says of its source. @param {Door} door @param {import("./types.js").State | null} state
 * @returns {Door} */
export function withLive(door, state) {
  if (door.own || state === null) return door;
  const { rate, rejected_rate, last_ms, last_problem } = state.sources?.[door.source] ?? door;
  const { received, rejected, duplicate } = state.ledger.sources[door.source] ?? door;
  return { ...door, rate, rejected_rate, last_ms, last_problem, received, rejected, duplicate };
}

/** Sign, class and word. @param {Door} door @param {number} asOf @returns {readonly [string, string, string]} */
export function doorWord(door, asOf) {
  if (door.connected === false) return ["■", "is-bad", "not connected"];
  if ((door.rejected_rate ?? 0) > 0) return ["▲", "is-warn", "rejecting"];
  if ((door.rate ?? 0) > 0 || (door.last_ms !== null && asOf - door.last_ms < ACTIVE_MS)) return ["●", "is-good", "active"];
  if (door.connected) return ["●", "is-good", "connected"];
  return door.last_ms === null ? ["◌", "", "nothing yet"] : ["◌", "", "quiet"];
}

/** What is wrong now, or was with the last event that was turned away. @param {Door} door
 * @returns {{now: boolean, words: string} | null} */
export function doorProblem(door) {
  const now = door.problems?.[0];
  if (now !== undefined) return { now: true, words: now.replace(`${door.name}: `, "") };
  return door.last_problem === null ? null : { now: false, words: door.last_problem };
}
