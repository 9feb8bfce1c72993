// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { held, lost, newSession, replaced } from "../../src/streamgauge/dashboard/session.js";
import { tabTitle } from "../../src/streamgauge/dashboard/title.js";

const STATE = { as_of: 0, rate: 12.44, total_events: 9, range: { live: true } };
const session = replaced(newSession(0), /** @type {any} */ ({ epoch: "a", version: 1, state: STATE }), 0);

test("the tab tells the rate, and on other pages their name", () => {
  assert.equal(tabTitle(newSession(0), "overview", 0), "Streamgauge");
  assert.equal(tabTitle(session, "overview", 0), "12.4/s · Streamgauge");
  assert.equal(tabTitle(session, "dead-letters", 0), "Dead letters · Streamgauge");
});

test("a tab in the background does not look live when the page is not", () => {
  assert.equal(tabTitle(lost(session, 0), "overview", 2_000), "▲ Reconnecting · Streamgauge");
  assert.equal(tabTitle(session, "overview", 20_000), "Quiet · Streamgauge");
  assert.equal(tabTitle(held(session, "pause", 0), "overview", 0), "❚❚ Paused · Streamgauge");
});
