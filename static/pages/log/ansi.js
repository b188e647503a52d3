// A line as it came, to pieces of text with classes: colours kept, tricks taken out or shown.

const CSI = /^\x1b\[([0-9:;<=>?]*)[ -/]*([@-~])/;
const STRING = /^\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)/; // titles, OSC 8 links, device control
const OTHER = /^\x1b[ -/]*[0-Z\\^-~]/;
// Controls, what turns the direction of text, and what is there without being seen.
const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\u{e0000}-\u{e007f}]/gu;
const TRICKY = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\u{e0000}-\u{e007f}]/u;

/** [text, classes] pairs; nothing in them is markup. */
export function pieces(line) {
  if (!TRICKY.test(line)) return [[line, ""]];
  const found = [];
  const style = new Style();
  const parts = line.split(/(?=\x1b)/);
  for (let part of parts) {
    if (part[0] === "\x1b") {
      const sequence = CSI.exec(part) ?? STRING.exec(part) ?? OTHER.exec(part);
      if (sequence) {
        if (sequence[2] === "m") style.apply(sequence[1]);
        part = part.slice(sequence[0].length);
      }
    }
    visible(part, style.classes(), found);
  }
  return found;
}

/** As people see it, without colours. */
export const plain = (line) => pieces(line).map(([text]) => text).join("");

function visible(text, classes, found) {
  let at = 0;
  for (const hit of text.matchAll(HIDDEN)) {
    if (hit.index > at) found.push([text.slice(at, hit.index), classes]);
    found.push([name(hit[0].codePointAt(0)), "hidden-char"]);
    at = hit.index + hit[0].length;
  }
  if (at < text.length) found.push([text.slice(at), classes]);
}

function name(code) {
  if (code < 0x20 || code === 0x7f) return `^${String.fromCodePoint(code ^ 0x40)}`;
  return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

class Style {
  constructor() {
    this.reset();
  }

  reset() {
    Object.assign(this, { on: new Set(), front: null, back: null });
  }

  classes() {
    const all = [...this.on];
    // A background decides both colours, so that any pair can be read; what is concealed is shown.
    if (this.back !== null) all.push(`back-${this.back}`);
    else if (this.front !== null) all.push(this.on.has("inverse") ? `back-${this.front}` : `front-${this.front}`);
    return all.join(" ");
  }

  apply(text) {
    const codes = (text || "0").split(/[;:]/).map((each) => Number(each) || 0);
    while (codes.length) {
      const code = codes.shift();
      if (code === 0) this.reset();
      else if (ON[code]) this.on.add(ON[code]);
      else if (OFF[code]) OFF[code].forEach((each) => this.on.delete(each));
      else if (code >= 30 && code <= 37) this.front = code - 30;
      else if (code >= 90 && code <= 97) this.front = code - 82;
      else if (code >= 40 && code <= 47) this.back = code - 40;
      else if (code >= 100 && code <= 107) this.back = code - 92;
      else if (code === 38) this.front = extended(codes);
      else if (code === 48) this.back = extended(codes);
      else if (code === 39) this.front = null;
      else if (code === 49) this.back = null;
    }
  }
}

const ON = { 1: "bold", 3: "italic", 4: "underline", 7: "inverse", 9: "struck" };
const OFF = { 22: ["bold"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["struck"] };

/** The nearest of the sixteen that each theme has in colours one can read. */
function extended(codes) {
  const kind = codes.shift();
  if (kind === 5) {
    const index = codes.shift() ?? 0;
    if (index < 16) return index;
    if (index > 231) return index > 243 ? 7 : 8;
    const cube = index - 16;
    return nearest(Math.floor(cube / 36) * 51, (Math.floor(cube / 6) % 6) * 51, (cube % 6) * 51);
  }
  if (kind === 2) return nearest(...codes.splice(0, 3));
  return null;
}

function nearest(red = 0, green = 0, blue = 0) {
  const most = Math.max(red, green, blue);
  if (most < 64) return 0;
  const lit = (part) => part > most * 0.6;
  const colour = (lit(red) ? 1 : 0) | (lit(green) ? 2 : 0) | (lit(blue) ? 4 : 0);
  return colour + (most > 200 ? 8 : 0);
}
