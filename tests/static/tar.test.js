// Headers of the archive that the form sends.

import assert from "node:assert/strict";
import { test } from "node:test";

import { header } from "../../static/pages/send/tar.js";

const text = (block, from, to) => String.fromCharCode(...block.slice(from, to)).replace(/\0.*$/s, "");

test("a header is one block whose checksum is right", () => {
  const block = header(new TextEncoder().encode("src/app.py"), 1234, "0", 1_700_000_000);
  assert.equal(block.length, 512);
  assert.equal(text(block, 0, 100), "src/app.py");
  assert.equal(parseInt(text(block, 124, 136), 8), 1234);
  assert.equal(text(block, 257, 263), "ustar");
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  assert.equal(parseInt(text(block, 148, 156), 8), sum);
});
