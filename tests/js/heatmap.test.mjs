// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { bandWords, heatModel } from "../../src/streamgauge/dashboard/heatmap.js";
import { isDark, ramp, rampStep } from "../../src/streamgauge/dashboard/ramp.js";

const BOUNDS = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2];
/** @param {Record<number, number>} cells */
const column = (cells) => BOUNDS.map((_, band) => cells[band] ?? 0);

test("the bands that hold something are shown, and never fewer than six", () => {
  const model = heatModel({ bounds_ms: BOUNDS, columns: [column({ 2: 5 }), null, column({ 8: 1 })] }, 5_000);
  assert.equal(model.rows.length, 7);
  assert.deepEqual(model.edges, ["200 µs", "400 µs", "800 µs", "1.6 ms", "3.2 ms", "6.4 ms", "12.8 ms", "25.6 ms"]);
  assert.deepEqual(model.rows[0], [5, null, 0]);
  assert.equal(model.most, 5);
  assert.equal(heatModel({ bounds_ms: BOUNDS, columns: [column({ 9: 1 })] }, 1_000).rows.length, 6);
  assert.equal(heatModel({ bounds_ms: BOUNDS, columns: [null] }, 1_000).rows.length, 6);
  assert.deepEqual(heatModel({ bounds_ms: [], columns: [] }, 1_000).rows, []);
});

test("a band is told by both its edges, the lowest by one", () => {
  const model = heatModel({ bounds_ms: BOUNDS, columns: [column({ 0: 1 })] }, 1_000);
  assert.equal(bandWords(model, 0), "up to 100 µs");
  assert.equal(bandWords(model, 1), "100 µs to 200 µs");
  const slow = heatModel({ bounds_ms: BOUNDS, columns: [column({ 9: 1 })] }, 1_000);
  assert.equal(bandWords(slow, 5), "over 25.6 ms", "what is slower than the last bound is in the last band");
});

test("one event is the first colour, the most is the last, and order is kept between", () => {
  assert.equal(rampStep(1, 1_000), 0);
  assert.equal(rampStep(1_000, 1_000), 47);
  assert.equal(rampStep(1, 1), 47);
  for (let count = 1; count < 1_000; count += 1) assert.ok(rampStep(count, 1_000) <= rampStep(count + 1, 1_000));
});

for (const [name, dark, ground] of /** @type {[string, boolean, string][]} */ ([["light", false, "rgb(255, 255, 255)"], ["dark", true, "rgb(24, 27, 33)"]])) {
  test(`on the ${name} ground, more events are always farther from the ground`, () => {
    const colours = ramp(dark);
    assert.equal(isDark(ground), dark);
    const contrasts = colours.map((colour) => contrast(colour, ground));
    assert.deepEqual(contrasts, [...contrasts].sort((a, b) => a - b));
    assert.ok(contrasts[0] >= 1.25, `a single event is seen: ${contrasts[0]}`);
    assert.ok(contrasts[contrasts.length - 1] >= 7);
    assert.equal(new Set(colours).size, colours.length);
  });
}

/** WCAG 2.2 contrast ratio. @param {string} one @param {string} other */
function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

/** @param {string} colour */
function luminance(colour) {
  const [red, green, blue] = (colour.match(/\d+/g) ?? []).map((value) => {
    const share = Number(value) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
