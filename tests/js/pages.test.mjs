// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { destination } from "../../src/streamgauge/dashboard/keys.js";
import { PAGES, parsePlace, printPlace, titleOf } from "../../src/streamgauge/dashboard/pages.js";

test("an address brings back the page, and the letter that is open", () => {
  for (const place of [
    { page: "overview", letter: null }, { page: "sources", letter: null }, { page: "dead-letters", letter: null },
    { page: "dead-letters", letter: "0:12:3" },
  ]) assert.deepEqual(parsePlace(printPlace(/** @type {any} */ (place))), place);
});

test("an address that names no page is the overview", () => {
  for (const hash of ["", "#", "#/", "#/nowhere", "#/__proto__", "#/overview/0:1:2"]) {
    assert.deepEqual(parsePlace(hash), { page: "overview", letter: null });
  }
});

test("each page has a link that leads to it, a title and a key of its own", () => {
  for (const { name, title, href, key } of PAGES) {
    assert.equal(parsePlace(href).page, name);
    assert.equal(titleOf(name), title);
    assert.deepEqual(destination(key), { do: "visit", page: name });
  }
  assert.equal(destination("x"), null);
});
