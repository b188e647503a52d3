// All lines that contain a text, found by the server, and moves from one to the next.

import { query } from "./query.js";

const COUNT = 10_000;

export class Search {
  hits = [];
  at = -1;
  total = 0;
  text = "";

  constructor(lines, show) {
    this.lines = lines;
    this.show = show;
  }

  /** Only the results of the last search are used. */
  async find(text, near) {
    Object.assign(this, { text, hits: [], at: -1, total: 0 });
    if (text) {
      for (const part of this.lines.parts) {
        for (let from = 0; from !== null; ) {
          const found = await this.#ask(text, part.attempt, from);
          if (this.text !== text) return;
          for (const [own] of found.hits) this.hits.push(part.start + own);
          if (from === 0) this.total += found.total;
          from = found.next;
          if (this.at < 0) {
            const after = this.hits.findIndex((each) => each >= near);
            if (after >= 0) this.#to(after);
          }
        }
      }
      if (this.at < 0 && this.hits.length) this.#to(0);
    }
    this.show();
  }

  #ask(text, attempt, from) {
    const asked = query({ q: text, attempt, from, count: COUNT, ignore_case: true });
    return this.lines.ask(`search?${asked}`);
  }

  step(by) {
    if (this.hits.length) this.#to((this.at + by + this.hits.length) % this.hits.length);
  }

  #to(at) {
    this.at = at;
    this.show(this.hits[at]);
  }

  get words() {
    if (!this.text) return "";
    return this.total ? `${this.at + 1} of ${this.total.toLocaleString("en")}` : "No line has it";
  }
}
