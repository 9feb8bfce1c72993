// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import * as derive from "../../src/streamgauge/dashboard/derive.js";

const NONE = { count: 0, sum: null, avg: null, min: null, max: null, p50: null, p95: null, p99: null };

/** @param {object} [more] @returns {any} */
const state = (more) => ({
  as_of: 15_000, range: { step_ms: 5_000, live: true }, time: [0, 5_000, 10_000],
  series: { count: [10, null, 20] }, type_series: { a: [4, null, 8], b: [6, null, 2] },
  types: { a: { count: 12, avg: 1, p95: 1 }, b: { count: 8, avg: 2, p95: 2 } },
  totals: { events: { ...NONE, count: 30 }, latency: NONE }, ...more,
});

test("counts are per second of the step, and gaps stay gaps", () => {
  assert.deepEqual(derive.perSecond(state(), [10, null, 0]), [2, null, 0]);
});

test("a bucket that is still open counts the seconds that it has had", () => {
  assert.deepEqual(derive.perSecond(state({ as_of: 12_000 }), [10, 10, 10]), [2, 2, 5]);
  assert.deepEqual(derive.perSecond(state({ as_of: 10_500 }), [10, 10, 10]), [2, 2, null]);
});

test("the last bucket is open until its time has passed", () => {
  assert.equal(derive.openSince(state({ as_of: 14_999 })), 10);
  assert.equal(derive.openSince(state({ as_of: 15_000 })), null);
  assert.equal(derive.openSince(state({ as_of: 10_000, range: { step_ms: 5_000, live: false } })), null);
  assert.equal(derive.openSince(state({ time: [] })), null);
});

test("a fixed range has no open bucket", () => {
  assert.deepEqual(derive.perSecond(state({ as_of: 10_500, range: { step_ms: 5_000, live: false } }), [10, 10, 10]), [2, 2, 2]);
});

test("the stack adds up to all events, with the rest as other", () => {
  const curves = derive.stackedRates(state(), ["a", "b"], () => "--series-1");
  assert.deepEqual(curves.map(({ label }) => label), ["a", "b", "(other)"]);
  assert.deepEqual(curves.map(({ values }) => values[2]), [1.6, 0.4, 2]);
  assert.deepEqual(curves.map(({ drawn }) => drawn?.[2]), [1.6, 2, 4]);
  assert.deepEqual(curves.map(({ drawn }) => drawn?.[1]), [null, null, null]);
});

test("without types there is one curve for all events", () => {
  const curves = derive.stackedRates(state({ type_series: {} }), [], () => "");
  assert.deepEqual(curves.map(({ label, values }) => [label, values]), [["events", [2, null, 4]]]);
});

test("layers keep their order while the same types are in the stack", () => {
  const first = derive.stackOrder([], state());
  assert.deepEqual(first, ["a", "b"]);
  const overtaken = state({ types: { a: { count: 1 }, b: { count: 99 } } });
  assert.equal(derive.stackOrder(first, overtaken), first);
  assert.deepEqual(derive.stackOrder(["a", "c"], overtaken), ["b", "a"]);
});

test("a label has the same colour whatever the order, and six labels have six", () => {
  const labels = ["page_view", "search", "purchase", "refund", "error", "sign_up"];
  const slots = derive.colourSlots(labels);
  assert.deepEqual(derive.colourSlots([...labels].reverse()), slots);
  assert.deepEqual([...slots.values()].sort(), [1, 2, 3, 4, 5, 6]);
});

test("types are ranked by events, and what has no name comes last however large", () => {
  const rows = derive.ranked(state({ types: { a: { count: 5, avg: 1 }, b: { count: 10, avg: null }, "(other)": { count: 15, avg: null, other: true } } }));
  assert.deepEqual(rows.map(({ type }) => type), ["b", "a", "(other)"]);
  assert.deepEqual(rows.map(({ share }) => Math.round(share * 100)), [33, 17, 50]);
  assert.deepEqual(rows.map(({ width }) => width), [1, 0.5, 1]);
});

test("the ledger balances to the event", () => {
  const ledger = { received: 10, stored: 4, filtered: 1, duplicate: 1, dead_lettered: 1, rejected: 1, pending: 2, requests_refused: 9 };
  assert.equal(derive.unaccounted(ledger), 0);
  assert.equal(derive.unaccounted({ ...ledger, received: 13 }), 3);
  assert.equal(derive.unaccounted({ ...ledger, imbalance: 0 }), 0);
  assert.equal(derive.unaccounted({ ...ledger, imbalance: 2 }), 2);
});

test("a label that stays in sight keeps its colour when others come and go", () => {
  const before = derive.colourSlots(["page_view", "search", "purchase"]);
  const after = derive.colourSlots(["login", "purchase", "search"], before);
  assert.equal(after.get("purchase"), before.get("purchase"));
  assert.equal(after.get("search"), before.get("search"));
  assert.equal(new Set(after.values()).size, 3);
  assert.equal(derive.colourSlots(["purchase", "search", "login"], after), after, "the same labels are the same map");
});

test("under a filter the other types keep their colours, and shares are of all types", () => {
  const filtered = state({ filter: { type: "b" }, type_series: { b: [1, 1, 1] }, totals: { events: { ...NONE, count: 8 } } });
  assert.deepEqual(derive.labelled(filtered).sort(), ["a", "b"]);
  assert.deepEqual(derive.ranked(filtered).map(({ share }) => share), [0.6, 0.4]);
});

test("errors are the share that came to nothing", () => {
  const ledger = { received: 200, stored: 0, filtered: 0, duplicate: 0, dead_lettered: 1, rejected: 3, pending: 0, requests_refused: 9 };
  assert.equal(derive.failedShare(ledger), 0.02);
  assert.equal(derive.failedShare({ ...ledger, received: 0 }), null);
});
