// Splits a line into pieces of text with classes: keeps colours, removes or shows other controls.

import { style } from "./colours.js";

const CSI = /^\x1b\[([0-9:;<=>?]*)[ -/]*([@-~])/;
const STRING = /^\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)/; // titles, OSC 8 links, device control
const OTHER = /^\x1b[ -/]*[0-Z\\^-~]/;
// Control characters, characters that change the direction of text, and invisible ones.
const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\u{e0000}-\u{e007f}]/gu;
const TRICKY = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\u{e0000}-\u{e007f}]/u;

/** [text, classes, colours]; colours are style properties or undefined. None of it is markup. */
export function pieces(line) {
  if (!TRICKY.test(line)) return [[line, ""]];
  const found = [];
  const look = new Look();
  const parts = line.split(/(?=\x1b)/);
  for (let part of parts) {
    if (part[0] === "\x1b") {
      const sequence = CSI.exec(part) ?? STRING.exec(part) ?? OTHER.exec(part);
      if (sequence) {
        if (sequence[2] === "m" && !/^[<=>?]/.test(sequence[1])) look.apply(sequence[1]);
        part = part.slice(sequence[0].length);
      }
    }
    visible(part, look.shown(), found);
  }
  return found;
}

/** The visible text, without colours. */
export const plain = (line) => pieces(line).map(([text]) => text).join("");

function visible(text, [classes, colours], found) {
  let at = 0;
  for (const hit of text.matchAll(HIDDEN)) {
    if (hit.index > at) found.push([text.slice(at, hit.index), classes, colours]);
    found.push([name(hit[0].codePointAt(0)), "hidden-char"]);
    at = hit.index + hit[0].length;
  }
  if (at < text.length) found.push([text.slice(at), classes, colours]);
}

function name(code) {
  if (code < 0x20 || code === 0x7f) return `^${String.fromCodePoint(code ^ 0x40)}`;
  return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

class Look {
  #shown = null;

  constructor() {
    this.reset();
  }

  reset() {
    this.on = new Set();
    this.front = null;
    this.back = null;
  }

  /** Classes and colours. Concealed text is shown. */
  shown() {
    this.#shown ??= style(this.on, this.front, this.back);
    return this.#shown;
  }

  apply(text) {
    this.#shown = null;
    const codes = text.split(";");
    while (codes.length) {
      const [code, ...more] = codes.shift().split(":").map((each) => Number(each) || 0);
      if (code === 0) this.reset();
      else if (code === 4 && more[0] === 0) this.on.delete("underline");
      else if (ON[code]) this.on.add(ON[code]);
      else if (OFF[code]) OFF[code].forEach((each) => this.on.delete(each));
      else if (code >= 30 && code <= 37) this.front = code - 30;
      else if (code >= 90 && code <= 97) this.front = code - 82;
      else if (code >= 40 && code <= 47) this.back = code - 40;
      else if (code >= 100 && code <= 107) this.back = code - 92;
      else if (code === 38) this.front = extended(more, codes);
      else if (code === 48) this.back = extended(more, codes);
      else if (code === 39) this.front = null;
      else if (code === 49) this.back = null;
    }
  }
}

const ON = { 1: "bold", 3: "italic", 4: "underline", 7: "inverse", 9: "struck" };
const OFF = { 22: ["bold"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["struck"] };
const CUBE = [0, 95, 135, 175, 215, 255]; // levels of xterm's 6x6x6 colours

/** One of the 16 colours as its number, others as [r, g, b]: 38;5;n, 38;2;r;g;b, or with colons. */
function extended(parts, codes) {
  const take = (count) => codes.splice(0, count).map((each) => Number(each) || 0);
  const [kind, ...values] = parts.length ? parts : take(1);
  if (kind === 5) return indexed(Math.min(255, values[0] ?? take(1)[0] ?? 0));
  if (kind !== 2) return null;
  // With colons, a colour space may be in front of the three values.
  const rgb = values.length ? values.slice(values.length > 3 ? 1 : 0, values.length > 3 ? 4 : 3) : take(3);
  return [0, 1, 2].map((at) => Math.min(255, rgb[at] ?? 0));
}

function indexed(index) {
  if (index < 16) return index;
  if (index > 231) return Array(3).fill(8 + 10 * (index - 232));
  const cube = index - 16;
  return [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((each) => CUBE[each]);
}
