// The part of the address that names lines: #L120 or #L120-L140. Lines are counted from 1 there.

const SHAPE = /^#L([1-9]\d{0,8})(?:-L?([1-9]\d{0,8}))?$/;

export class Marks {
  /** Numbers counted from 0, the last one within; null where the address names none. */
  range = null;

  constructor() {
    this.read();
  }

  read() {
    const found = SHAPE.exec(location.hash);
    const [from, to] = found ? [Number(found[1]) - 1, Number(found[2] ?? found[1]) - 1] : [];
    this.range = found ? { from: Math.min(from, to), to: Math.max(from, to) } : null;
  }

  has(number) {
    return this.range !== null && number >= this.range.from && number <= this.range.to;
  }

  /** Marks a line; with `more`, from the one marked before. The address says it without a jump. */
  put(number, more, attempt) {
    const from = more && this.range ? this.range.from : number;
    this.range = { from: Math.min(from, number), to: Math.max(from, number) };
    const address = new URL(location.href);
    // The current attempt is another one tomorrow.
    address.searchParams.set("attempt", attempt);
    const last = this.range.to > this.range.from ? `-L${this.range.to + 1}` : "";
    address.hash = `L${this.range.from + 1}${last}`;
    history.replaceState(null, "", address);
  }
}
