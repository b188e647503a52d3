// Lines to rows and back, whichever steps are folded.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Folds } from "../../static/pages/log/folds.js";

function folds() {
  const made = new Folds();
  made.add(0, 1, 1, "FROM");
  made.add(10, 1, 2, "RUN");
  made.add(20, 1, 1, "FROM");
  made.layOut(30);
  return made;
}

test("without folds every line has its row", () => {
  const made = folds();
  assert.equal(made.rows, 30);
  assert.equal(made.line(17), 17);
  assert.equal(made.row(17), 17);
});

test("a folded step keeps its heading alone", () => {
  const made = folds();
  made.steps[1].folded = true;
  made.layOut(30);
  assert.equal(made.rows, 21);
  assert.equal(made.line(10), 10);
  assert.equal(made.line(11), 20);
  assert.equal(made.row(15), 10);
  assert.equal(made.row(20), 11);
});

test("rows and lines are inverse for lines that have a row", () => {
  const made = folds();
  made.steps[0].folded = made.steps[2].folded = true;
  made.layOut(30, [[12, 15]]);
  for (let row = 0; row < made.rows; row++) assert.equal(made.row(made.line(row)), row);
});

test("a step that goes on has a heading that says so, and known headings change nothing", () => {
  const made = folds();
  assert.deepEqual(made.steps.map((each) => each.continued), [false, false, true]);
  made.add(5, 1, 9, "late");
  assert.equal(made.steps.length, 3);
});

test("revealing a hidden line opens its step", () => {
  const made = folds();
  made.steps[1].folded = true;
  assert.equal(made.reveal(10), false);
  assert.equal(made.reveal(15), true);
  assert.equal(made.steps[1].folded, false);
});
