// @ts-check
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { applyPatch, PatchError } from "../../src/streamgauge/dashboard/patch.js";

const vectors = JSON.parse(readFileSync(new URL("./patch_vectors.json", import.meta.url), "utf8"));

for (const { about, before, patch, after } of vectors) {
  test(`vector: ${about}`, () => {
    const untouched = structuredClone(before);
    // as text, so that an own "__proto__" counts and a prototype does not
    assert.equal(canonical(applyPatch(before, patch)), canonical(after));
    assert.equal(canonical(before), canonical(untouched), "the state that was given is never changed");
  });
}

test("what no operation touches stays the identical object", () => {
  const state = { series: { count: [1, 2], avg: [3] }, types: { a: { count: 1 } }, rate: 1 };
  const next = applyPatch(state, [["slide", ["series", "count"], { append: [3] }], ["set", ["rate"], 2]]);
  assert.equal(next.types, state.types);
  assert.equal(next.series.avg, state.series.avg);
  assert.notEqual(next.series, state.series);
});

test("setting what is there already gives the identical state", () => {
  const state = { a: { b: 1 } };
  assert.equal(applyPatch(state, [["set", ["a", "b"], 1]]), state);
  assert.equal(applyPatch(state, [["drop", ["a", "c"]]]), state);
});

test("a later patch does not change what an earlier one gave", () => {
  const first = applyPatch({ a: { n: 0 } }, [["set", ["a", "n"], 1]]);
  const second = applyPatch(first, [["set", ["a", "n"], 2]]);
  assert.deepEqual([first.a.n, second.a.n], [1, 2]);
});

test("an object that came in a patch is not changed by the next operation", () => {
  const value = { count: 1 };
  const next = applyPatch({ types: {} }, [["set", ["types", "a"], value], ["set", ["types", "a", "count"], 2]]);
  assert.deepEqual(next, { types: { a: { count: 2 } } });
  assert.deepEqual(value, { count: 1 });
});

for (const [about, state, operation] of /** @type {[string, any, any][]} */ ([
  ["a missing parent", { a: {} }, ["set", ["a", "b", "c"], 1]],
  ["an inherited parent", { a: {} }, ["set", ["a", "constructor", "x"], 1]],
  ["a parent that is an array", { a: [1] }, ["set", ["a", "0"], 1]],
  ["sliding what is no array", { a: {} }, ["slide", ["a"], { append: [1] }]],
  ["sliding what is not there", {}, ["slide", ["a"], { append: [1] }]],
  ["an index past the end", { a: [1, 2] }, ["slide", ["a"], { drop: 1, set: [[1, 5]] }]],
  ["an unknown operation", { a: 1 }, ["grow", ["a"], 1]],
])) {
  test(`${about} is refused, and the state is as before`, () => {
    const before = structuredClone(state);
    assert.throws(() => applyPatch(state, [operation]), PatchError);
    assert.deepEqual(state, before);
  });
}

/** @param {any} value @returns {string} */
function canonical(value) {
  return JSON.stringify(value, (_, one) => {
    if (one === null || typeof one !== "object" || Array.isArray(one)) return one;
    return Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1));
  });
}
