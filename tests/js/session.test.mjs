// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import * as page from "../../src/streamgauge/dashboard/session.js";

/** @param {object} [more] @returns {any} */
const state = (more) => ({ as_of: 1_000, total_events: 10, range: { live: true }, ...more });
/** @param {number} [version] @returns {any} */
const snapshot = (version = 12) => ({ epoch: "a", version, state: state() });
/** @param {number} total @returns {any} */
const total = (total) => [["set", ["total_events"], total]];
const open = () => page.replaced(page.newSession(0), snapshot(), 1_000);

test("a diff that follows on advances the state", () => {
  const next = page.advanced(open(), { epoch: "a", from: 12, version: 13, patch: total(11) }, 1_250);
  assert.equal(next?.latest?.total_events, 11);
  assert.equal(next?.version, 13);
});

test("a gap, another epoch and a patch that does not fit all ask for a fresh snapshot", () => {
  const session = open();
  assert.equal(page.advanced(session, { epoch: "a", from: 13, version: 14, patch: [] }, 0), null);
  assert.equal(page.advanced(session, { epoch: "b", from: 12, version: 13, patch: [] }, 0), null);
  assert.equal(page.advanced(session, { epoch: "a", from: 12, version: 13, patch: [["set", ["no", "such"], 1]] }, 0), null);
  assert.equal(page.advanced(page.newSession(0), { epoch: "a", from: 0, version: 1, patch: [] }, 0), null);
});

test("while paused the picture stands still and what is new is counted", () => {
  const held = page.paused(open(), 2_000);
  const later = page.advanced(held, { epoch: "a", from: 12, version: 13, patch: total(1_294) }, 2_250);
  assert.ok(later);
  assert.equal(page.shown(later)?.total_events, 10);
  assert.equal(page.heldBack(later), 1_284);
  assert.equal(page.shown(page.resumed(later))?.total_events, 1_294);
});

test("a picture stays held over a reconnect, and another range lets it go", () => {
  const held = page.replaced(page.lost(page.paused(open(), 2_000), 3_000), { ...snapshot(1), epoch: "b" }, 4_000);
  assert.equal(held.held?.at, 2_000);
  assert.equal(page.asked(held).held, null);
});

test("a loss is told after a second, not before", () => {
  const session = page.lost(open(), 5_000);
  assert.equal(page.linkWord(session, 5_900), "live");
  assert.equal(page.linkWord(session, 6_000), "reconnecting");
  assert.equal(page.linkWord(page.replaced(session, snapshot(), 7_000), 7_000), "live");
});

test("closing again while cut off does not restart the second", () => {
  const session = page.lost(page.lost(open(), 5_000), 5_800);
  assert.equal(page.linkWord(session, 6_000), "reconnecting");
});

test("a restart that was announced is no alarm, until it takes too long", () => {
  const session = page.lost(page.draining(open(), 3_000, 5_000), 5_500);
  assert.equal(page.linkWord(session, 9_000), "draining");
  assert.equal(page.linkWord(session, 60_000), "reconnecting");
});

test("a server that cannot be reached at first is said to be so", () => {
  const session = page.newSession(0);
  assert.equal(page.linkWord(session, 1_000), "connecting");
  assert.equal(page.linkWord(session, 6_000), "reconnecting");
});

test("an open link that says nothing is not called live", () => {
  assert.equal(page.linkWord(open(), 5_000), "live");
  assert.equal(page.linkWord(open(), 12_000), "quiet");
  const fixed = page.replaced(page.newSession(0), { ...snapshot(), state: state({ range: { live: false } }) }, 1_000);
  assert.equal(page.linkWord(fixed, 60_000), "fixed");
});

test("a refused view says why until a snapshot comes", () => {
  const session = page.refused(page.newSession(0), "no such dashboard", 1_000);
  assert.equal(page.linkWord(session, 2_000), "refused");
  assert.equal(page.linkWord(page.replaced(session, snapshot(), 3_000), 3_000), "live");
});

test("clocks that disagree do not make a lag", () => {
  const hour = 3_600_000;
  let session = page.replaced(page.newSession(0), snapshot(), 1_000 + hour);
  assert.equal(session.lagMs, 0);
  const behind = page.replaced(page.newSession(0), { ...snapshot(), state: state({ as_of: hour }) }, 1_000);
  assert.equal(behind.lagMs, 0);
  session = page.replaced(page.newSession(0), snapshot(), 1_400);
  assert.equal(session.lagMs, 400);
});
