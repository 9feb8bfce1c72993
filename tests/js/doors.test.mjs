// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { doorProblem, doorWord, withLive } from "../../src/streamgauge/dashboard/doors.js";
import { outcomeWords } from "../../src/streamgauge/dashboard/replay_words.js";

const NOW = 1_700_000_000_000;
/** @param {object} more @returns {any} */
const door = (more) => ({
  kind: "http", name: "http", source: "http", own: false, received: 0, rejected: 0, duplicate: 0, rate: null, rejected_rate: null,
  last_ms: null, last_problem: null, ...more,
});
/** @type {any} */
const STATE = {
  sources: { http: { rate: 12, rejected_rate: 1, last_ms: NOW, last_problem: "value: no number" } },
  ledger: { sources: { http: { received: 9, stored: 5, filtered: 0, duplicate: 3, dead_lettered: 0, rejected: 1, pending: 0 } } },
};

test("what the live view knows of a source is newer than the list", () => {
  assert.deepEqual(withLive(door({ received: 7 }), STATE), door({
    received: 9, rejected: 1, duplicate: 3, rate: 12, rejected_rate: 1, last_ms: NOW, last_problem: "value: no number",
  }));
});

test("a door within another keeps its own counts, and one that the live view does not know those of the list", () => {
  const own = door({ kind: "files", own: true, received: 2, last_ms: NOW });
  assert.deepEqual(withLive(own, STATE), own);
  const quiet = door({ source: "websocket", received: 3 });
  assert.deepEqual(withLive(quiet, STATE), quiet);
  assert.deepEqual(withLive(quiet, null), quiet);
});

test("a door stands in a word, the most urgent one", () => {
  const word = (/** @type {object} */ more) => doorWord(door(more), NOW)[2];
  assert.equal(word({}), "nothing yet");
  assert.equal(word({ last_ms: NOW - 60_000 }), "quiet");
  assert.equal(word({ last_ms: NOW - 2_000 }), "active");
  assert.equal(word({ last_ms: NOW - 60_000, rate: 3 }), "active");
  assert.equal(word({ rate: 3, rejected_rate: 1 }), "rejecting");
  assert.equal(word({ connected: true }), "connected");
  assert.equal(word({ connected: false, rate: 3, rejected_rate: 1, last_ms: NOW }), "not connected");
});

test("what is wrong now comes before what was wrong once", () => {
  assert.equal(doorProblem(door({})), null);
  assert.deepEqual(doorProblem(door({ last_problem: "b" })), { now: false, words: "b" });
  assert.deepEqual(doorProblem(door({ name: "fleet", problems: ["fleet: no connection"], last_problem: "b" })), { now: true, words: "no connection" });
});

test("what became of letters is said in words", () => {
  const nothing = { replayed: 0, duplicates: 0, rejected: 0, missing: [], errors: [] };
  assert.match(outcomeWords({ ...nothing, replayed: 1200 }), /^1,200 sent again; what fails again is a new dead letter/);
  assert.match(outcomeWords({ ...nothing, duplicates: 1 }), /count once/);
  assert.match(outcomeWords({ ...nothing, rejected: 1, errors: [{ name: "0:1:1", error: "no `type`" }] }), /1 rejected: no `type`/);
  assert.match(outcomeWords({ ...nothing, missing: ["0:1:1"] }), /1 not there any more/);
  assert.equal(outcomeWords(nothing), "There was none to send.");
});
