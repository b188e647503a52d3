// Durations as the pages show them; common.humanize shows the same.

import assert from "node:assert/strict";
import { test } from "node:test";

import { clock, duration } from "../../static/pages/times.js";

test("below a second there are tenths, rounded down", () => {
  assert.equal(duration(0), "0.0 s");
  assert.equal(duration(0.99), "0.9 s");
});

test("minutes and hours are two digits after the first", () => {
  assert.equal(duration(1), "0:01");
  assert.equal(duration(61.9), "1:01");
  assert.equal(duration(3 * 3600 + 62), "3:01:02");
});

test("a clock that is behind shows zero", () => {
  assert.equal(clock(-5), "0:00");
});
