// What is shown of a line of terminal output: colours kept, control characters made visible.

import assert from "node:assert/strict";
import { test } from "node:test";

import { pieces, plain } from "../../static/pages/log/ansi.js";

test("a plain line is one piece", () => {
  assert.deepEqual(pieces("hello <b>"), [["hello <b>", ""]]);
});

test("colours become classes, and the reset ends them", () => {
  const found = pieces("\x1b[31mred\x1b[0m plain").map(([text, classes]) => [text, classes]);
  assert.equal(found.length, 2);
  assert.equal(found[0][0], "red");
  assert.notEqual(found[0][1], "");
  assert.deepEqual(found[1], [" plain", ""]);
});

test("sequences that are no colours are taken out", () => {
  assert.equal(plain("a\x1b[2Kb\x1b[10;20Hc"), "abc");
  assert.equal(plain("\x1b]8;;https://evil.example\x07link\x1b]8;;\x07"), "link");
  assert.equal(plain("\x1b]0;a title that never ends"), "");
});

test("characters that cannot be seen or that turn the text are named", () => {
  assert.equal(plain("a\u202eb"), "a<U+202E>b");
  assert.equal(plain("a\x00b\x7f"), "a^@b^?");
  assert.equal(plain("zero\u200bwidth"), "zero<U+200B>width");
  assert.equal(plain("\u{e0041}"), "<U+E0041>");
});

test("a tab is kept", () => {
  assert.equal(plain("a\tb"), "a\tb");
});
