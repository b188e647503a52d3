// The lines of a log by number: pages of 500 from the server, at most 40 kept, and live lines.
//
// A line is [stream, text, microseconds, step]. After an attempt whose worker died comes the next
// one: the reader sees both as one log with consecutive line numbers.

import { query } from "./query.js";

const PAGE = 500;
const KEPT = 40;
const KEPT_CHARACTERS = 12_000_000; // 40 pages of the longest lines would be 300 MB
const AGAIN = 1_000;
const MOST_AT_ONCE = 2_000; // lines in one answer of the server

export class Lines {
  #pages = new Map(); // least recently used first
  #characters = 0;
  #wanted = new Map();

  constructor(image, attempt, changed) {
    this.image = image;
    this.parts = [{ attempt, start: 0, total: 0 }];
    this.changed = changed;
  }

  get last() {
    return this.parts.at(-1);
  }

  get total() {
    return this.last.start + this.last.total;
  }

  /** The line, or undefined while it is fetched; `changed` is called when it is there. */
  at(number) {
    const part = this.#part(number);
    if (!part) return undefined;
    const own = number - part.start;
    const index = Math.floor(own / PAGE);
    const page = this.#use(part.attempt, index);
    const line = page?.lines[own % PAGE];
    if (!line) this.#want(part.attempt, index);
    return line;
  }

  /** The number in this log of a line of an attempt. */
  number(attempt, own) {
    const part = this.parts.find((each) => each.attempt === attempt);
    return part && part.start + own;
  }

  /** The attempt that a line belongs to, and the line's number in it. */
  place(number) {
    const { attempt, start } = this.parts.findLast((each) => each.start <= number);
    return { attempt, own: number - start };
  }

  #part(number) {
    return number < this.total ? this.parts.findLast((each) => each.start <= number) : undefined;
  }

  /** Adds consecutive lines. Adding the same lines twice does no harm. */
  put(attempt, first, lines) {
    if (attempt > this.last.attempt) {
      this.parts.push({ attempt, start: this.total, total: 0 });
    }
    const part = this.parts.find((each) => each.attempt === attempt);
    if (!part) return;
    part.total = Math.max(part.total, first + lines.length);
    for (let done = 0; done < lines.length; ) {
      const index = Math.floor((first + done) / PAGE);
      const from = (first + done) % PAGE;
      const count = Math.min(PAGE - from, lines.length - done);
      const page = this.#use(attempt, index) ?? this.#make(attempt, index);
      for (let at = 0; at < count; at++) {
        const line = lines[done + at];
        if (!page.lines[from + at]) {
          page.characters += line[1].length;
          this.#characters += line[1].length;
        }
        page.lines[from + at] = line;
      }
      done += count;
    }
    this.#forget();
  }

  #key = (attempt, index) => `${attempt}:${index}`;

  #use(attempt, index) {
    const key = this.#key(attempt, index);
    const page = this.#pages.get(key);
    if (page) {
      this.#pages.delete(key);
      this.#pages.set(key, page);
    }
    return page;
  }

  #make(attempt, index) {
    const page = { lines: [], characters: 0 };
    this.#pages.set(this.#key(attempt, index), page);
    return page;
  }

  #forget() {
    for (const [key, page] of this.#pages) {
      const few = this.#pages.size <= KEPT && this.#characters <= KEPT_CHARACTERS;
      if (few || this.#pages.size <= 2) return;
      this.#characters -= page.characters;
      this.#pages.delete(key);
    }
  }

  #want(attempt, index) {
    const key = this.#key(attempt, index);
    if (this.#wanted.has(key)) return;
    this.#wanted.set(key, true);
    this.load(attempt, index * PAGE).finally(() => {
      // A page that failed is requested again, after a pause.
      setTimeout(() => this.#wanted.delete(key), AGAIN);
      this.changed();
    });
  }

  /** Fetches the page with a line of an attempt; returns the server's first answer. */
  async load(attempt, own, more = {}) {
    const start = Math.floor(own / PAGE) * PAGE;
    let first;
    // Very long lines need several answers.
    for (let from = start; from < start + PAGE; ) {
      const asked = query({ attempt, from, count: start + PAGE - from, ...more });
      const found = await this.ask(`lines?${asked}`);
      first ??= found;
      const part = this.parts.find((each) => each.attempt === attempt);
      if (part === this.last) part.total = Math.max(part.total, found.total);
      if (part && found.gap) part.gap = found.gap;
      this.put(attempt, found.first, found.lines);
      from = Number(found.next.split(":")[1]);
      if (!found.lines.length || from >= found.total) break;
    }
    return first;
  }

  /** The texts of lines [from, to), fetched without keeping them. */
  async texts(from, to) {
    const found = [];
    for (let at = from; at < Math.min(to, this.total); ) {
      const part = this.parts.findLast((each) => each.start <= at);
      const count = Math.min(MOST_AT_ONCE, to - at, part.start + part.total - at);
      const asked = query({ attempt: part.attempt, from: at - part.start, count });
      const { lines, next } = await this.ask(`lines?${asked}`);
      if (!lines.length) break;
      for (const [, text] of lines) found.push(text);
      at = part.start + Number(next.split(":")[1]);
    }
    return found;
  }

  /** Lines that a too long log does not have: [from, to) pairs, after a line that says so. */
  get gaps() {
    const known = this.parts.filter((part) => part.gap);
    return known.map(({ start, gap }) => [start + gap[0] + 1, start + gap[1]]);
  }

  /** The server's answer about this log; repeated while the server is away. Throws if it is refused. */
  async ask(what) {
    for (;;) {
      try {
        const answer = await fetch(`/images/${this.image}/logs/${what}`);
        if (answer.ok) return await answer.json();
        if (answer.status < 500) throw new Refused(`${answer.status}`);
      } catch (problem) {
        if (problem instanceof Refused) throw problem;
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }
}

export class Refused extends Error {}
