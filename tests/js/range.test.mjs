// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { covering, joinParams, parseRange, printRange } from "../../src/streamgauge/dashboard/range.js";

test("an address brings back the range that it was made from", () => {
  for (const choice of [{ preset: "6h" }, { preset: "all" }, { from: 1_700_000_000_000, to: 1_700_000_360_000 }, { from: -5_000, to: 0 }]) {
    assert.deepEqual(parseRange(printRange(choice)), choice);
  }
});

test("an address may say its times as milliseconds or as ISO 8601", () => {
  const wanted = { from: 1_700_000_000_000, to: 1_700_000_060_000 };
  assert.deepEqual(parseRange("?from=1700000000000&to=1700000060000"), wanted);
  assert.deepEqual(parseRange("?from=2023-11-14T22:13:20Z&to=2023-11-14T22:14:20Z"), wanted);
});

test("nonsense in an address is the default range", () => {
  for (const search of ["", "?range=2y", "?from=5&to=5", "?from=9&to=5", "?from=x&to=y", "?from=1", "?from=9e99&to=1e999", "?range=__proto__"]) {
    assert.deepEqual(parseRange(search), { preset: "15m" }, search);
  }
});

test("all asks for the extent, and for the default while that is unknown", () => {
  assert.deepEqual(joinParams({ preset: "all" }, null, null), { range: "15m" });
  assert.deepEqual(joinParams({ preset: "all" }, { from: 5_000, to: 9_000 }, null), { from: 5_000, to: 9_001 });
  assert.deepEqual(joinParams({ preset: "1h" }, { from: 5, to: 9 }, null), { range: "1h" });
  assert.deepEqual(joinParams({ from: 1, to: 2 }, null, null), { from: 1, to: 2 });
});

test("a filter is asked for together with the range", () => {
  assert.deepEqual(joinParams({ preset: "1h" }, null, "page_view"), { range: "1h", type: "page_view" });
});

test("a single event is covered by a range that is not empty", () => {
  const { from, to } = covering({ from: 7_000, to: 7_000 });
  assert.ok(from <= 7_000 && to > 7_000 && to - from >= 1_000);
});
