// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../../src/streamgauge/dashboard/format.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** @param {(value: any) => string} write @param {[any, string][]} pairs */
function writes(write, pairs) {
  for (const [value, text] of pairs) assert.equal(write(value), text, `${value}`);
}

test("large numbers have three digits and a prefix", () => {
  writes(format.compact, [
    [1, "1"], [284, "284"], [999, "999"], [1000, "1.00k"], [12_400, "12.4k"], [1_020_000, "1.02M"], [999_499, "999k"],
    [999_500, "1.00M"], [2_500_000_000, "2.50G"], [-12_400, "−12.4k"], [1e20, "1.00e+20"],
  ]);
});

test("fractions have three digits, and tiny ones a power of ten", () => {
  writes(format.compact, [[12.44, "12.4"], [1.005, "1.00"], [0.0312, "0.0312"], [0.00031, "3.10e−4"], [999.7, "1.00k"], [-0.5, "−0.500"]]);
});

test("nothing and zero never look the same", () => {
  for (const write of [format.compact, format.exact, format.rate, format.percent, format.duration, format.steady]) {
    assert.equal(write(null), "–");
    assert.equal(write(undefined), "–");
    assert.equal(write(NaN), "–");
    assert.match(write(0), /^0/);
  }
});

test("exact numbers keep their digits", () => {
  writes(format.exact, [[1_284_067, "1,284,067"], [1284.5, "1,284.500"], [0.25, "0.25"], [-3, "−3"], [0.00012, "1.200e−4"]]);
});

test("a number that changes all the time keeps its width", () => {
  writes(format.steady, [[5, "5.00"], [5.8, "5.80"], [13, "13.0"], [284, "284"], [12_400, "12.4k"], [0, "0"]]);
  assert.equal(format.rate(20), "20.0/s");
});

test("rates in a table line up", () => {
  writes(format.thousandths, [[2, "2.000"], [1234.5678, "1,234.568"], [0, "0"], [null, "–"]]);
});

test("ticks have no zeros that say nothing", () => {
  writes(format.trimmed, [["1.50k", "1.5k"], ["2.00 ms", "2 ms"], ["0.800", "0.8"], ["200", "200"], ["10", "10"], ["1.05M", "1.05M"], ["3.10e−4", "3.1e−4"]]);
});

test("durations choose their unit", () => {
  writes(format.duration, [
    [0.85, "850 µs"], [0.9999, "1.00 ms"], [12.4, "12.4 ms"], [999.4, "999 ms"], [999.6, "1.0 s"], [3200, "3.2 s"], [59_960, "1 min"],
    [250_000, "4 min 10 s"], [2 * HOUR, "2 h"], [2 * HOUR + 5 * MINUTE, "2 h 5 min"], [240 * HOUR, "10 d"],
    [90 * 24 * HOUR, "2 months"], [400 * 24 * HOUR, "13 months"], [4351 * 24 * HOUR, "11 years"], [-12.4, "−12.4 ms"],
  ]);
});

test("steps are told in the unit that they are whole in", () => {
  writes(format.stepWords, [[5_000, "5 s"], [30 * MINUTE, "30 min"], [6 * HOUR, "6 h"], [720 * HOUR, "30 d"], [36 * HOUR, "36 h"]]);
});

test("percentages of nearly nothing and of nearly all stay truthful", () => {
  writes(format.percent, [[0.0002, "0.02%"], [0.00004, "<0.01%"], [0.124, "12.4%"], [1, "100%"], [0.99999, "99.99%"], [0.0557, "5.57%"]]);
});

test("counts of what is new have a sign", () => {
  writes(format.signed, [[1284, "+1,284"], [0, "+0"], [-3, "−3"]]);
});

test("the lag beside the dot has one decimal", () => {
  writes(format.lag, [[0, "<0.1 s"], [99, "<0.1 s"], [412, "0.4 s"], [12_000, "12.0 s"], [90_000, "1 min 30 s"]]);
});

test("a change has an arrow, a sign and a percentage", () => {
  for (const [value, before, text] of /** @type {[any, any, string | null][]} */ ([
    [103, 100, "▲ +3.0%"], [88, 100, "▼ −12%"], [100, 100, "± 0%"], [100.01, 100, "± 0%"], [1_400, 100, "▲ +13×"], [-50, -100, "▲ +50%"],
    [5, 0, "new"], [0, 0, "–"], [0, 5, "▼ −100%"], [null, 5, null], [5, null, null], [5, undefined, null],
  ])) assert.equal(format.delta(value, before), text, `${value} after ${before}`);
});
