// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAddress, printAddress } from "../../src/streamgauge/dashboard/address.js";

test("an address brings back range, filter, zone and the panel that is alone", () => {
  for (const address of [
    { choice: { preset: "6h" }, filter: null, utc: false, panel: null },
    { choice: { preset: "all" }, filter: "page_view", utc: true, panel: "heatmap" },
    { choice: { from: 1_700_000_000_000, to: 1_700_000_360_000 }, filter: "a&b=c #?<b>é", utc: false, panel: null },
  ]) assert.deepEqual(parseAddress(printAddress(address)), address);
});

test("an address that says nothing is the default, unfiltered, in the viewer's zone", () => {
  for (const search of ["", "?", "?type=&tz=", "?tz=mars", "?panel=moon"]) {
    assert.deepEqual(parseAddress(search), { choice: { preset: "15m" }, filter: null, utc: false, panel: null });
  }
});
