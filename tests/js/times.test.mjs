// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { timesIn } from "../../src/streamgauge/dashboard/times.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const local = timesIn(false);
const utc = timesIn(true);

test("a stretch of time names a day once, and seconds where it is short", () => {
  const day = new Date(2026, 2, 12, 14, 0, 0).getTime();
  const now = new Date(2026, 10, 1).getTime();
  assert.equal(local.stretch(day, day + 90 * MINUTE, now), "12 Mar 14:00 – 15:30");
  assert.equal(local.stretch(day, day + 30_000, now), "12 Mar 14:00:00 – 14:00:30");
  assert.equal(local.stretch(day, day + 24 * HOUR, now), "12 Mar 14:00 – 13 Mar 14:00");
  assert.equal(local.stretch(day, day + HOUR, new Date(2027, 1, 1).getTime()), "12 Mar 2026 14:00 – 15:00");
});

test("ticks on the time axis are as fine as they are apart", () => {
  const noon = new Date(2026, 2, 12, 12, 0, 5).getTime();
  assert.equal(local.tick(noon, 5_000), "12:00:05");
  assert.equal(local.tick(noon, 5 * MINUTE), "12:00");
  assert.equal(local.tick(new Date(2026, 2, 12).getTime(), 6 * HOUR), "12 Mar");
  assert.equal(local.tick(noon, 24 * HOUR), "12 Mar");
  assert.equal(local.tick(noon, 366 * 24 * HOUR), "2026");
});

test("in UTC every time is in UTC, days and years too", () => {
  const at = Date.UTC(2025, 11, 31, 23, 59, 58);
  assert.equal(utc.zone, "UTC");
  assert.equal(utc.clock(at), "23:59:58");
  assert.equal(utc.moment(at, Date.UTC(2026, 0, 1)), "31 Dec 2025 23:59");
  assert.equal(utc.bucket(at, 1_000, at), "23:59:58");
  assert.equal(utc.tick(Date.UTC(2026, 0, 1), HOUR), "1 Jan");
});

test("what a field shows is read back as the same moment, in either zone", () => {
  const at = Date.UTC(2026, 6, 5, 4, 3, 2);
  assert.equal(utc.field(at), "2026-07-05T04:03:02");
  for (const times of [local, utc]) assert.equal(times.read(times.field(at)), at);
  assert.equal(utc.read("2026-07-05T04:03"), at - 2_000);
  assert.equal(utc.read(""), null);
  assert.equal(utc.read("yesterday"), null);
});
