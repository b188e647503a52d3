// Finds the line of a failed step that names the cause.
//
// A failed step reports the error at its end; warnings and handled errors are further up. So only
// the last lines are searched, and only the last group of errors counts: its first line names the
// cause (an error of a compiler), and the lines after it are consequences (an error of make).

import { query } from "./query.js";
import { plain } from "./ansi.js";

const LOOKED_AT = 500; // lines at the end of the step
const APART = 20; // lines between two errors that still belong together

const ERRORS = [
  /^\s*(?:[^\s:]+:(?:\d+:){1,2}\s*)?(?:fatal )?error(?:\[\w+\])?(?: [A-Z]{1,4}\d+)?:/i, // compilers, pip, rustc, tsc
  /^\S+\(\d+,\d+\): error\b/,
  /^\s*(?:fatal|panic|FATAL|E): /,
  /^\s*(?:fatal|critical)\b.*\berror\b/i,
  /^\w*make(?:\[\d+\])?: \*\*\* /,
  /^Traceback \(most recent call last\)/,
  /^(?:\w+\.)*\w*(?:Error|Exception)(?:: |$)/,
  /^Exception in thread /,
  /^npm (?:ERR!|error) /,
  /^\[?(?:ERROR|FATAL)\]?[\s:]/,
  /: (?:command )?not found$/,
  /: No such file or directory$/,
  /\bundefined reference to\b/,
  /^(?:FAILED|FAIL:|--- FAIL:)/,
];
const HINTS = /\b(?:errors?|fatal|failed|failure|cannot|denied|not found)\b/i;
const WARNING = /^\W*(?:\S+:\d+:(?:\d+:)?\s*)?(?:warning|warn|note|info|debug)\b/i;
// The last words of a step say which command failed, but not why.
const SUMMARY = /^(?:Error: )?RUN failed with |^ERROR: .*process ".*" did not complete successfully/;
const WITHIN = /^\s+(?:File "|at )/; // a traceback goes on

const strong = (text) => !WARNING.test(text) && ERRORS.some((each) => each.test(text));
const weak = (text) => !WARNING.test(text) && HINTS.test(text);

/** The index of the text with the cause of a failure, or null if all texts are blank. */
export function cause(texts) {
  const lines = texts.map((each) => plain(each)).map((each) => (SUMMARY.test(each) ? "" : each));
  let first = null;
  let last = null;
  for (let at = lines.length - 1; at >= 0; at--) {
    if (last !== null && last - at > APART) break;
    if (strong(lines[at])) first = last = at;
    else if (last !== null && WITHIN.test(lines[at])) last = at;
  }
  if (first !== null) return first;
  const end = lines.findLastIndex((each) => each.trim());
  const hint = lines.findLastIndex((each, at) => at > end - APART && weak(each));
  return hint >= 0 ? hint : end >= 0 ? end : null;
}

/** The line of a failed step to show first, within `[from, to)` pairs of lines of an attempt. */
export async function firstError(lines, attempt, step, spans) {
  const found = []; // [number, text], in order
  for (const [from, to] of spans.toReversed()) {
    const begin = Math.max(from, to - (LOOKED_AT - found.length));
    found.unshift(...(await span(lines, attempt, begin, to)));
    if (found.length >= LOOKED_AT) break;
  }
  // Lines of Slipway after the end of the step repeat the error.
  const own = found.filter(([, , each]) => each === step);
  const among = own.length ? own : found;
  const at = cause(among.map(([, text]) => text));
  return at === null ? null : among[at][0];
}

async function span(lines, attempt, from, to) {
  const found = [];
  for (let at = from; at < to; ) {
    const asked = query({ attempt, from: at, count: to - at });
    const answer = await lines.ask(`lines?${asked}`);
    if (!answer.lines.length) break;
    answer.lines.forEach(([, text, , step], index) => found.push([answer.first + index, text, step]));
    at = Number(answer.next.split(":")[1]);
  }
  return found;
}
