// What is known of the steps of each attempt.

import assert from "node:assert/strict";
import { test } from "node:test";

import { query } from "../../static/pages/log/query.js";
import { Steps } from "../../static/pages/log/steps.js";

test("a message updates what an answer said, for its attempt alone", () => {
  const steps = new Steps();
  steps.load(1, [{ number: 1, state: "running", started: 5, ended: null }]);
  steps.update(1, [[1, "failed", 5, 9]]);
  steps.update(2, [[1, "running", 7, null]]);
  assert.deepEqual(steps.of(1, 1), { state: "failed", started: 5, ended: 9 });
  assert.equal(steps.failed(1), 1);
  assert.equal(steps.failed(2), undefined);
  assert.equal(steps.of(3, 1), undefined);
});

test("a query string spells numbers and truth", () => {
  assert.equal(query({ from: 3, q: "a b", ignore_case: true }).toString(), "from=3&q=a+b&ignore_case=true");
});
