// Gets the text of a log for the clipboard.

import { plain } from "./ansi.js";

const MOST = 8_000_000; // characters: browsers and editors stall on more

/** The visible text, without colours. */
const clean = (text) => text.split("\n").map(plain).join("\n");

/** The text at a URL, up to the last complete line of the first MOST characters. */
async function download(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { text: parts.join(""), whole: true };
    parts.push(value);
    size += value.length;
    if (size <= MOST) continue;
    reader.cancel();
    const text = parts.join("").slice(0, MOST);
    return { text: text.slice(0, text.lastIndexOf("\n") + 1 || MOST), whole: false };
  }
}

/** The whole log: its text, the number of lines, and whether the text is complete. */
export async function all(address) {
  const { text, whole } = await download(address);
  return { text: clean(text), count: text.split("\n").length - (text.endsWith("\n") || !text ? 1 : 0), whole };
}

/** Lines [from, to) of a viewer. */
export async function some(lines, from, to) {
  const wanted = Math.min(to, lines.total) - from;
  const taken = [];
  let size = 0;
  for (let at = from; at < from + wanted && size <= MOST; at += 2_000) {
    for (const each of await lines.texts(at, Math.min(at + 2_000, from + wanted))) {
      taken.push(plain(each));
      size += each.length;
    }
  }
  return { text: taken.join("\n"), count: taken.length, whole: size <= MOST };
}
