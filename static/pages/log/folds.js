// Decides which lines have a row: steps can be folded; the first line of each is its heading. After
// lines of another step, a step continues under a new heading.

export class Folds {
  steps = []; // { attempt, step, first, text, folded, continued }, by first
  #starts = []; // runs of hidden lines: the line before, how many, and how many hidden before that

  /** Adds a heading at a line. A known one changes nothing. */
  add(first, attempt, step, text) {
    const last = this.steps.at(-1);
    if (last && first <= last.first) return;
    const continued = this.steps.some((each) => each.step === step && each.attempt === attempt);
    this.steps.push({ attempt, step, first, text, folded: false, continued });
  }

  /** `gaps` are further lines without a row: [from, to) pairs. */
  layOut(total, gaps = []) {
    const without = gaps.map((each) => [...each]);
    this.steps.forEach((each, index) => {
      if (each.folded) without.push([each.first + 1, this.steps[index + 1]?.first ?? total]);
    });
    without.sort(([one], [other]) => one - other);
    this.#starts = [];
    let [hidden, reached] = [0, 0];
    for (const [from, to] of without) {
      const begin = Math.max(from, reached);
      if (to <= begin) continue;
      this.#starts.push({ first: begin - 1, before: hidden, count: to - begin });
      hidden += to - begin;
      reached = to;
    }
    this.rows = total - hidden;
  }

  /** The line of a row. */
  line(row) {
    const fold = this.#last((each) => each.first - each.before < row);
    return fold ? row + fold.before + fold.count : row;
  }

  /** The row of a line; for a hidden line, the row of its heading. */
  row(line) {
    const fold = this.#last((each) => each.first < line);
    if (!fold) return line;
    const past = line - fold.first - fold.count;
    return fold.first - fold.before + Math.max(0, past);
  }

  heading(line) {
    const found = this.of(line);
    return found?.first === line ? found : undefined;
  }

  /** The step that a line belongs to. */
  of(line) {
    return this.steps.findLast((each) => each.first <= line);
  }

  /** The line after the last line of a step that another step follows. */
  next(step) {
    return this.steps[this.steps.indexOf(step) + 1].first;
  }

  /** Unfolds the step that hides a line; returns whether anything was hidden. */
  reveal(line) {
    const step = this.of(line);
    if (!step?.folded || step.first === line) return false;
    step.folded = false;
    return true;
  }

  #last(fits) {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (fits(this.#starts[middle])) low = middle + 1;
      else high = middle;
    }
    return this.#starts[low - 1];
  }
}
