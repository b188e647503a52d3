// The log on the page: lines as rows, foldable steps, and the reader's position.

import { Feed } from "./feed.js";
import { Folds } from "./folds.js";
import { Lines } from "./lines.js";
import { address, Marks } from "./marks.js";
import { row } from "./row.js";
import { Scroller } from "./scroller.js";
import { firstError } from "./errors.js";
import { show, Steps } from "./steps.js";
import { Sticky } from "./sticky.js";

export class Viewer {
  folds = new Folds();
  steps = new Steps();
  following = false;
  live = false;
  error = null;
  times = "off";
  search = null; // { text, at }
  #began = 0;
  #fresh = 0;
  #due = false;
  #changed = false;
  #stepStarts = new Map();

  /** Callbacks `on`: changed() after each drawing, status(message), state(text), ended(). */
  constructor(section, on) {
    this.section = section;
    this.on = on;
    const { image, attempt } = section.dataset;
    this.attempt = Number(attempt);
    this.lines = new Lines(image, this.attempt, () => this.#drawAgain());
    this.marks = new Marks(this.lines);
    const [frame, canvas, rows] = ["scroller", "canvas", "rows"].map((id) => document.getElementById(id));
    this.sticky = new Sticky(frame, (step) => this.show(step.first));
    this.scroller = new Scroller(frame, canvas, rows, {
      draw: (each) => this.#row(each),
      moved: (up) => this.#moved(up),
      placed: () => this.#stick(),
    });
    rows.addEventListener("click", (event) => this.#clicked(event));
    addEventListener("hashchange", () => {
      this.marks.read();
      this.#goToMark();
      this.scroller.refresh();
    });
  }

  async open() {
    const wanted = this.marks.range?.from ?? 0;
    const found = await this.lines.load(this.attempt, wanted, { steps: true });
    this.steps.load(this.attempt, found.step_list);
    for (const [step, first, text, at] of found.steps ?? []) this.#step(this.attempt, first, step, text, at);
    this.#began = this.folds.steps.length ? this.#stepStarts.get(this.folds.steps[0].first) : (found.lines[0]?.[2] ?? 0);
    this.live = !found.ended;
    if (found.state === "failed" && found.ended) await this.#showFailure(found.total);
    this.#layOut();
    if (!this.#goToMark()) {
      if (this.live) this.follow(true);
      else if (this.error !== null) this.show(this.error);
    }
    this.on.changed();
    if (this.live) this.#feed(`${this.attempt}:${found.total}`);
    else this.section.dataset.ended = "yes";
  }

  #feed(cursor) {
    this.feed = new Feed(this.lines.image, cursor, {
      lines: (attempt, first, lines, headings) => this.#came(attempt, first, lines, headings),
      status: (message) => {
        this.steps.update(message.attempt, message.step_states);
        this.#showSteps();
        this.on.status(message);
      },
      state: (text) => this.on.state(text),
      done: async (message) => {
        this.live = false;
        this.on.status({ ...message, attempt: this.lines.last.attempt });
        await this.#ended(message);
      },
    });
  }

  async #ended(message) {
    const { attempt, total } = this.lines.last;
    const found = await this.lines.load(attempt, Math.max(0, total - 1), { steps: true });
    this.steps.load(attempt, found.step_list);
    for (const [step, first, text, at] of found.steps ?? []) this.#step(attempt, first, step, text, at);
    this.#showSteps();
    if ((message.state ?? found.state) === "failed") {
      await this.#showFailure(this.lines.total, { fold: false });
      if (this.following && this.error !== null) this.show(this.error);
    }
    this.follow(false);
    this.on.ended(message.state ?? found.state);
    this.section.dataset.ended = "yes";
    this.#drawAgain();
  }

  /** Unfolds the failed step, folds the others, and marks the first error. */
  async #showFailure(total, { fold = true } = {}) {
    const { attempt, start } = this.lines.last;
    const last = this.folds.steps.at(-1);
    const failed = this.steps.failed(attempt) ?? last?.step;
    const open = this.folds.steps.filter((each) => each.attempt === attempt && each.step === failed);
    if (fold) for (const each of this.folds.steps) each.folded = !open.includes(each);
    const spans = open.map((each) => [each.first + 1, each === last ? total : this.folds.next(each)]);
    if (!spans.length) spans.push([start, total]);
    const own = await firstError(this.lines, attempt, failed, spans.map((each) => each.map((line) => line - start)));
    this.error = own === null ? spans.at(-1)[1] - 1 : start + own;
  }

  #came(attempt, first, lines, headings) {
    const before = this.lines.total;
    this.lines.put(attempt, first, lines);
    if (!this.#began) this.#began = lines[0]?.[2] ?? 0;
    for (const [step, own, text, at] of headings) this.#step(attempt, own, step, text, at);
    this.#fresh += this.lines.total - before;
    this.#drawAgain();
  }

  /** Adds a heading at a line of an attempt. */
  #step(attempt, own, step, text, at) {
    const first = this.lines.number(attempt, own);
    this.folds.add(first, attempt, step, text);
    this.#stepStarts.set(first, at);
  }

  /** Updates the state in headings without new elements: the user may be using their buttons. */
  #showSteps() {
    for (const heading of this.scroller.box.querySelectorAll(".heading")) {
      const found = this.folds.heading(Number(heading.dataset.line) - 1);
      const fact = found && this.#fact(found);
      if (fact && heading.querySelector(".sign")) show(heading, fact, found.continued);
    }
    this.#stick();
  }

  /** The step of the topmost line, if its heading is not visible. */
  #stick() {
    if (!this.scroller) return;
    const line = this.folds.line(this.scroller.firstRow);
    const step = this.folds.of(line);
    const hidden = step && !step.folded && (step.first < line || this.scroller.into > 0);
    this.sticky.show(hidden ? step : null, hidden && this.#fact(step));
  }

  #fact({ attempt, step }) {
    return this.steps.of(attempt, step);
  }

  /** At most once a frame. */
  #drawAgain() {
    this.#changed = true;
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      if (!this.#changed) return;
      this.#changed = false;
      this.#layOut();
      this.#fill();
      if (this.following) this.scroller.toEnd();
      this.on.changed();
    });
  }

  #layOut() {
    this.folds.layOut(this.lines.total, this.lines.gaps);
    this.scroller.setCount(this.folds.rows);
    this.scroller.render();
  }

  /** Rows that were drawn before their lines arrived. */
  #fill() {
    const coming = this.scroller.box.querySelectorAll(".coming");
    const rows = new Set([...coming].map((each) => this.folds.row(Number(each.dataset.line) - 1)));
    if (rows.size) this.scroller.refresh(rows);
  }

  #row(at) {
    const number = this.folds.line(at);
    const step = this.folds.of(number);
    const heading = step?.first === number ? step : undefined;
    const line = this.lines.at(number);
    const place = this.lines.place(number);
    return row(line, {
      line: number + 1,
      number: place.own + 1,
      address: address(place),
      heading,
      fact: heading && this.#fact(heading),
      stray: line?.[3] && line[3] !== step?.step ? line[3] : null,
      seconds: heading ? this.#seconds(heading) : null,
      marked: this.marks.has(number),
      error: number === this.error,
      hit: number === this.search?.at,
      search: this.search?.text,
      times: this.times,
      began: this.#began,
      on: { toggle: (chosen) => this.toggle(chosen) },
    });
  }

  #seconds(step) {
    const next = this.folds.steps[this.folds.steps.indexOf(step) + 1];
    return next ? (this.#stepStarts.get(next.first) - this.#stepStarts.get(step.first)) / 1e6 : null;
  }

  toggle(step) {
    step.folded = !step.folded;
    const focused = this.folds.row(step.first);
    this.refold();
    this.scroller.box.querySelector(`[data-line="${step.first + 1}"] .toggle`)?.focus({ preventScroll: true });
    return focused;
  }

  /** Folds all steps, or unfolds them if all are folded. */
  foldAll() {
    const open = this.folds.steps.some((each) => !each.folded);
    for (const each of this.folds.steps) each.folded = open;
    this.refold();
  }

  refold() {
    const top = this.folds.line(this.scroller.firstRow);
    this.follow(false);
    this.folds.layOut(this.lines.total, this.lines.gaps);
    this.scroller.setCount(this.folds.rows);
    this.scroller.forgetHeights();
    this.scroller.refresh();
    this.scroller.toRow(this.folds.row(top));
    this.on.changed();
  }

  show(number) {
    this.follow(false);
    if (this.folds.reveal(number)) this.folds.layOut(this.lines.total, this.lines.gaps);
    this.scroller.setCount(this.folds.rows);
    this.scroller.toRow(this.folds.row(number), { centred: true });
    this.scroller.refresh();
    this.on.changed();
  }

  #goToMark() {
    if (!this.marks.range) return false;
    this.show(Math.min(this.marks.range.from, Math.max(0, this.lines.total - 1)));
    return true;
  }

  mark(number, more) {
    this.marks.put(number, more);
    this.follow(false);
    this.scroller.refresh();
  }

  #clicked(event) {
    const link = event.target.closest("a.number");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.mark(Number(link.parentElement.dataset.line) - 1, event.shiftKey);
  }

  #moved(up) {
    if (up) this.follow(false);
    else if (this.live && this.scroller.atEnd) this.follow(true);
    this.on.changed();
  }

  follow(on) {
    const follows = on && this.live;
    if (follows !== this.following || follows) this.#fresh = 0;
    this.following = follows;
    if (follows) this.scroller.toEnd();
    else if (on) this.scroller.toEnd();
    this.on.changed();
  }

  /** Number of lines that arrived since the reader left the end. */
  get fresh() {
    return this.following ? 0 : this.#fresh;
  }

  wrap(on) {
    const top = this.scroller.firstRow;
    this.section.classList.toggle("wrapped", on);
    this.scroller.wrapped = on;
    this.scroller.forgetHeights();
    this.scroller.setCount(this.scroller.count);
    this.scroller.refresh();
    if (this.following) this.scroller.toEnd();
    else this.scroller.toRow(top);
  }
}
