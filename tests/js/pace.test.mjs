// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { atPace, paceOf } from "../../src/streamgauge/dashboard/pace.js";

const DAY_S = 86_400;

/** A fixed range of two steps with so many events in the busier one.
 * @param {number} stepS @param {number} events @returns {any} */
const state = (stepS, events) => ({
  as_of: 0, range: { step_ms: stepS * 1000, live: false }, time: [0, stepS * 1000], series: { count: [0, events] },
});

/** @param {number} stepS @param {number} events */
const word = (stepS, events) => paceOf(state(stepS, events)).word;

test("many events, and short steps, are told per second", () => {
  assert.equal(word(5, 1), "second");
  assert.equal(word(300, 300), "second");
  assert.equal(word(30 * DAY_S, 30 * DAY_S), "second");
  assert.equal(paceOf(null).word, "second");
  assert.equal(word(300, 0), "second");
});

test("slow data is told in a unit in which its busiest moment is at least one", () => {
  assert.equal(word(300, 30), "minute");
  assert.equal(word(300, 4), "hour");
  assert.equal(word(21_600, 5), "day");
  assert.equal(word(30 * DAY_S, 8_000), "day");
  assert.equal(word(30 * DAY_S, 1), "day");
});

test("rates follow the unit, and gaps stay gaps", () => {
  assert.deepEqual(atPace([0.5, null], paceOf(state(300, 30))), [30, null]);
  const perS = [1, null];
  assert.equal(atPace(perS, paceOf(null)), perS);
});
