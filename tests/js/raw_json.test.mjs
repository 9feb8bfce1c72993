// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventProblem, eventText, indented } from "../../src/streamgauge/dashboard/raw_json.js";

test("laid out in lines it is as JSON.stringify lays it out", () => {
  for (const value of [
    {}, { a: [] }, { a: {} }, { a: [1, [2, {}], { b: null }] }, { 'q"\\': 'x, {y}: [z] \\" "', "é\n": true }, { a: { b: { c: -1.5e-7 } } },
  ]) assert.equal(indented(JSON.stringify(value)), JSON.stringify(value, null, 2));
});

test("not a digit is changed, and spaces are left out", () => {
  assert.equal(indented('{ "n":9007199254740993 ,"x": 1.0,\n"y":[1e400]}'), '{\n  "n": 9007199254740993,\n  "x": 1.0,\n  "y": [\n    1e400\n  ]\n}');
});

test("the event of a letter is found, whatever its reason says and its fields are called", () => {
  const event = '{"type":"a","event":{"event":1},"n":9007199254740993}';
  const letter = `{"name":"0:1:2","reason":${JSON.stringify('x,"event":{}')},"mapping":{},"event":${event}}`;
  assert.equal(eventText(letter), event);
  assert.equal(eventText("{}"), null);
});

test("only one object is an event", () => {
  assert.equal(eventProblem('{"type": "a"}'), null);
  for (const text of ["[]", "1", "null", '"a"']) assert.match(eventProblem(text) ?? "", /one JSON object/);
  for (const text of ["", "{", "{a: 1}"]) assert.match(eventProblem(text) ?? "", /not JSON yet/);
});
