// The part of the URL that names lines: ?attempt=2#L120 or #L120-L140. Lines are counted from 1
// within their attempt.

const SHAPE = /^#L([1-9]\d{0,8})(?:-L?([1-9]\d{0,8}))?$/;

/** The URL of a line. It names the attempt, because without it a new attempt changes its meaning. */
export const address = ({ attempt, own }) => `?attempt=${attempt}#L${own + 1}`;

export class Marks {
  /** Numbers as in `lines`, including the last one; null if the URL names none. */
  range = null;

  constructor(lines) {
    this.lines = lines;
    this.read();
  }

  read() {
    const found = SHAPE.exec(location.hash);
    const [from, to] = found ? [this.#number(found[1]), this.#number(found[2] ?? found[1])] : [];
    this.range = found ? { from: Math.min(from, to), to: Math.max(from, to) } : null;
  }

  #number(text) {
    const attempt = Number(new URLSearchParams(location.search).get("attempt"));
    return this.lines.number(attempt, Number(text) - 1) ?? Number(text) - 1;
  }

  has(number) {
    return this.range !== null && number >= this.range.from && number <= this.range.to;
  }

  /** Marks a line; with `more`, the range from the line marked before in the same attempt. */
  put(number, more) {
    const { attempt, own } = this.lines.place(number);
    const extend = more && this.range && this.lines.place(this.range.from).attempt === attempt;
    const from = extend ? this.range.from : number;
    this.range = { from: Math.min(from, number), to: Math.max(from, number) };
    const start = number - own;
    const target = new URL(location.href);
    target.searchParams.set("attempt", attempt);
    const last = this.range.to > this.range.from ? `-L${this.range.to - start + 1}` : "";
    target.hash = `L${this.range.from - start + 1}${last}`;
    history.replaceState(null, "", target);
  }
}
