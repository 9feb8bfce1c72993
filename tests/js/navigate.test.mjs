// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { shifted, zoomed } from "../../src/streamgauge/dashboard/navigate.js";

const MINUTE = 60_000;
const NOW = 1_700_000_000_000;
const live = { preset: "15m", from: NOW - 15 * MINUTE, to: NOW, step_ms: 5_000, live: true };
/** @param {number} from @param {number} to */
const fixed = (from, to) => ({ preset: null, from, to, step_ms: 5_000, live: false });

test("earlier is half a length back, and later comes back to live", () => {
  const back = shifted(live, -1, NOW);
  assert.deepEqual(back, { from: NOW - 22.5 * MINUTE, to: NOW - 7.5 * MINUTE });
  assert.deepEqual(shifted(fixed(NOW - 22.5 * MINUTE, NOW - 7.5 * MINUTE), 1, NOW + 3_000), { preset: "15m" });
});

test("live cannot go later, and a length without a preset ends now", () => {
  assert.equal(shifted(live, 1, NOW), null);
  assert.deepEqual(shifted(fixed(NOW - 8 * MINUTE, NOW - MINUTE), 1, NOW), { from: NOW - 7 * MINUTE, to: NOW });
  assert.deepEqual(shifted(fixed(NOW - 80 * MINUTE, NOW - 70 * MINUTE), 1, NOW), { from: NOW - 75 * MINUTE, to: NOW - 65 * MINUTE });
});

test("a live range zooms along the presets and stays live", () => {
  const choice = { preset: "15m" };
  assert.deepEqual(zoomed(choice, live, "in", null), { preset: "5m" });
  assert.deepEqual(zoomed(choice, live, "out", null), { preset: "1h" });
  assert.equal(zoomed({ preset: "5m" }, live, "in", null), null);
  assert.deepEqual(zoomed({ preset: "7d" }, live, "out", { from: 5, to: 5_000 }), { from: 5, to: 5_001 });
  assert.equal(zoomed({ preset: "7d" }, live, "out", null), null);
});

test("a fixed range zooms round its middle, within limits", () => {
  const range = fixed(NOW - 10 * MINUTE, NOW);
  const choice = { from: range.from, to: range.to };
  assert.deepEqual(zoomed(choice, range, "in", null), { from: NOW - 7.5 * MINUTE, to: NOW - 2.5 * MINUTE });
  assert.deepEqual(zoomed(choice, range, "out", null), { from: NOW - 15 * MINUTE, to: NOW + 5 * MINUTE });
  assert.equal(zoomed(choice, fixed(NOW, NOW + 1_500), "in", null), null);
});
