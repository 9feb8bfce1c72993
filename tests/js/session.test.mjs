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
  const held = page.held(open(), "pause", 2_000);
  const later = page.advanced(held, { epoch: "a", from: 12, version: 13, patch: total(1_294) }, 2_250);
  assert.ok(later);
  assert.equal(page.shown(later)?.total_events, 10);
  assert.equal(page.heldBack(later), 1_284);
  assert.equal(page.shown(page.resumed(later))?.total_events, 1_294);
});

test("a picture stays held over a reconnect, and another range lets it go", () => {
  const held = page.replaced(page.lost(page.held(open(), "pause", 2_000), 3_000), { ...snapshot(1), epoch: "b" }, 4_000);
  assert.equal(held.held?.at, 2_000);
  assert.equal(page.asked(held).held, null);
});

test("a loss is told after a second, not before", () => {
  const session = page.lost(open(), 5_000);
  assert.equal(page.linkWord(session, 5_900), "live");
  assert.equal(page.linkWord(session, 6_000), "reconnecting");
  assert.equal(page.linkWord(page.replaced(session, snapshot(), 7_000), 7_000), "live");
});

test("a page that falls behind says so for a while, and how much was left out", () => {
  const behind = page.skipped(open(), snapshot(20), 2_000);
  assert.equal(behind.version, 20);
  assert.equal(page.linkWord(behind, 5_000), "thinned");
  assert.equal(behind.thinned?.updates, 8);
  const again = page.skipped(behind, snapshot(23), 6_000);
  assert.equal(again.thinned?.updates, 11);
  assert.equal(page.linkWord({ ...again, heardAt: 20_000 }, 20_000), "live");
  assert.equal(page.skipped(again, snapshot(25), 60_000).thinned?.updates, 2);
});

test("what is not a page that falls behind is not told as one", () => {
  assert.equal(page.skipped(open(), snapshot(12), 2_000).thinned, null);
  assert.equal(page.skipped(open(), { ...snapshot(90), epoch: "b" }, 2_000).thinned, null);
  assert.equal(page.skipped(page.newSession(0), snapshot(90), 2_000).thinned, null);
  assert.equal(page.replaced(open(), snapshot(90), 2_000).thinned, null);
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

test("the picture stands still until every reason is gone", () => {
  const both = page.held(page.held(open(), "chart", 2_000), "pause", 3_000);
  assert.equal(both.held?.at, 2_000);
  assert.equal(page.standing(both), "paused");
  assert.equal(page.standing(page.released(both, "pause")), "held");
  assert.equal(page.standing(page.released(page.released(both, "pause"), "chart")), null);
  assert.equal(page.released(both, "tail"), both, "what did not hold it changes nothing");
  assert.equal(page.standing(page.resumed(both)), null);
});

test("what was missed while cut off is marked for some seconds, then it is history", () => {
  const later = { ...snapshot(), state: state({ as_of: 9_000 }) };
  const back = page.replaced(page.lost(open(), 2_000), later, 9_100);
  assert.deepEqual(back.gap, { from: 1_000, to: 9_000, at: 9_100 });
  assert.ok(page.markedGap(back, 15_000));
  assert.equal(page.markedGap(back, 30_000), null);
});

test("a loss that nobody could notice leaves no mark, nor does the first connection", () => {
  assert.equal(page.replaced(page.lost(open(), 2_000), snapshot(), 2_500).gap, null);
  assert.equal(page.replaced(page.newSession(0), snapshot(), 60_000).gap, null);
});

test("the first event is told only by a page that has waited for it", () => {
  const waiting = page.replaced(page.newSession(0), { epoch: "a", version: 1, state: state({ total_events: 0 }) }, 1_000);
  const came = page.advanced(waiting, { epoch: "a", from: 1, version: 2, patch: total(1) }, 5_000);
  assert.ok(came);
  assert.ok(page.firstJustCame(came, 6_000));
  assert.ok(!page.firstJustCame(came, 60_000));
  assert.ok(!page.firstJustCame(open(), 1_000));
});

test("silence gets a number after ten seconds", () => {
  assert.equal(page.silence(open(), 9_000), null);
  assert.equal(page.silence(open(), 13_000), 12_000);
  assert.equal(page.silence(page.newSession(0), 60_000), null);
});
