// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { meaning as keyMeaning } from "../../src/streamgauge/dashboard/keys.js";

/** @param {string} key @param {object} [more] */
const press = (key, more) => ({ key, ctrlKey: false, metaKey: false, altKey: false, repeat: false, ...more });
/** @param {any} event @param {any} focus @param {boolean} [singles] */
const meaning = (event, focus, singles = true) => keyMeaning(event, focus, singles);

test("keys mean what the help says", () => {
  assert.deepEqual(meaning(press(" "), "page"), { do: "pause" });
  assert.deepEqual(meaning(press("t"), "page"), { do: "tables" });
  assert.deepEqual(meaning(press("f"), "page"), { do: "full" });
  assert.deepEqual(meaning(press("?"), "page"), { do: "help" });
  assert.deepEqual(meaning(press("Escape"), "page"), { do: "close" });
  assert.deepEqual(meaning(press("ArrowLeft"), "page"), { do: "shift", direction: -1 });
  assert.deepEqual(meaning(press("ArrowRight"), "control"), { do: "shift", direction: 1 });
  assert.deepEqual(meaning(press("-"), "page"), { do: "zoom", way: "out" });
  assert.deepEqual(meaning(press("+"), "page"), { do: "zoom", way: "in" });
  assert.deepEqual([".", "r", "/"].map((key) => meaning(press(key), "page")?.do), ["copy", "refresh", "filter"]);
  const presets = ["1", "2", "3", "4", "5", "6"].map((key) => meaning(press(key), "page"));
  assert.deepEqual(presets.map((one) => one?.do === "preset" && one.preset), ["5m", "15m", "1h", "6h", "24h", "7d"]);
  assert.equal(meaning(press("7"), "page"), null);
});

test("no key is taken from somebody who types", () => {
  for (const key of [" ", "t", "?", "1", "-", "ArrowLeft", "Escape"]) assert.equal(meaning(press(key), "typing"), null);
});

test("Space presses the control that has the focus, other keys still work there", () => {
  assert.equal(meaning(press(" "), "control"), null);
  assert.deepEqual(meaning(press("t"), "control"), { do: "tables" });
});

test("combinations and held keys are left alone", () => {
  for (const more of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }, { repeat: true }]) {
    assert.equal(meaning(press("t", more), "page"), null);
  }
});

test("what scrolls keeps its arrows", () => {
  assert.equal(meaning(press("ArrowRight"), "scrolling"), null);
  assert.deepEqual(meaning(press("Escape"), "scrolling"), { do: "close" });
});

test("single keys can be switched off; Esc and arrows are left", () => {
  for (const key of [" ", "t", "1", "?", "-", "r"]) assert.equal(meaning(press(key), "page", false), null);
  assert.deepEqual(meaning(press("Escape"), "page", false), { do: "close" });
  assert.deepEqual(meaning(press("ArrowLeft"), "page", false), { do: "shift", direction: -1 });
});

test("a key that names something every object has means nothing", () => {
  for (const key of ["constructor", "toString", "__proto__"]) assert.equal(meaning(press(key), "page"), null);
});
