// Scrolls through any number of rows, with only some dozens of them in the document.
//
// Browsers cannot draw an element of 20 million pixels. So the canvas has at most MOST pixels, and
// the scroll bar becomes a scale: a far jump goes to that share of the rows. A short move scrolls by
// its pixels, so that a wheel has normal speed, and afterwards the bar is corrected. The position is
// always a row and some pixels of it, so wrapped rows may have any height.

export const ROW = 20;
const MOST = 8_000_000;
const AROUND = 16;
const ROWS = 190;
const REST = 150;

export class Scroller {
  #top = { row: 0, px: 0 };
  #expected = 0;
  #shown = new Map();
  #heights = new Map();
  #resting = 0;
  #width = 0;
  count = 0;
  wrapped = false;

  /**
   * `draw(row)` makes an element; `moved(up)` is called when the reader scrolled, and `placed()`
   * when other rows may be on top.
   */
  constructor(frame, canvas, box, { draw, moved, placed }) {
    this.frame = frame;
    this.canvas = canvas;
    this.box = box;
    this.draw = draw;
    this.moved = moved;
    this.placed = placed;
    frame.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => {
      if (this.#width !== frame.clientWidth) this.#heights.clear();
      this.#width = frame.clientWidth;
      const end = this.atEnd;
      this.render();
      if (end) this.toEnd();
    }).observe(frame);
  }

  get #view() {
    return this.frame.clientHeight;
  }

  get firstRow() {
    return this.#top.row;
  }

  /** Pixels of the first row that are above the visible area. */
  get into() {
    return this.#top.px;
  }

  atEnd = true;

  setCount(count) {
    this.count = count;
    this.#stretch();
  }

  #stretch() {
    let more = 0;
    for (const height of this.#heights.values()) more += height - ROW;
    this.canvas.style.height = `${Math.min(this.count * ROW + (this.wrapped ? more : 0), MOST)}px`;
  }

  /** Draws all rows again, because their content has changed. */
  refresh(rows) {
    for (const [row, element] of this.#shown) {
      if (rows && !rows.has(row)) continue;
      element.remove();
      this.#shown.delete(row);
      this.#heights.delete(row);
    }
    this.render();
  }

  forgetHeights() {
    this.#heights.clear();
  }

  toRow(row, { centred = false } = {}) {
    const above = centred ? Math.floor(this.#view / 2 / ROW) : 0;
    this.#top = { row: Math.max(0, Math.min(row, this.count - 1) - above), px: 0 };
    this.render();
    this.#settle();
  }

  toEnd() {
    this.#top = { row: Math.max(0, this.count - 1), px: 0 };
    this.render();
    this.#settle();
  }

  #height(row) {
    return this.wrapped ? (this.#heights.get(row) ?? ROW) : ROW;
  }

  #scrolled() {
    const moved = this.frame.scrollTop - this.#expected;
    if (moved === 0) return;
    this.#expected = this.frame.scrollTop;
    const range = this.frame.scrollHeight - this.#view;
    if (this.#expected <= 0) this.#top = { row: 0, px: 0 };
    else if (this.#expected >= range - 1) {
      this.#top = { row: Math.max(0, this.count - 1), px: 0 };
    } else if (Math.abs(moved) < 3 * this.#view) this.#move(moved);
    else {
      const last = Math.max(0, this.count - this.#view / ROW);
      const exact = (this.#expected / Math.max(1, range)) * last;
      this.#top = { row: Math.floor(exact), px: (exact % 1) * ROW };
    }
    this.render();
    this.moved(moved < 0);
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => this.#settle(), REST);
  }

  #move(px) {
    let { row, px: into } = this.#top;
    into += px;
    while (into < 0 && row > 0) into += this.#height(--row);
    while (into >= this.#height(row) && row < this.count - 1) into -= this.#height(row++);
    this.#top = { row, px: Math.max(0, into) };
  }

  /** Moves the scroll bar to the position of the top row. */
  #settle() {
    clearTimeout(this.#resting);
    const { row, px } = this.#top;
    const last = Math.max(1, this.count - this.#view / ROW);
    const share = Math.min(1, (row + px / this.#height(row)) / last);
    const whole = this.frame.scrollHeight - this.#view;
    const target = Math.round(this.atEnd ? whole : this.count * ROW <= MOST && !this.wrapped ? row * ROW + px : share * whole);
    this.frame.scrollTop = target;
    this.#expected = this.frame.scrollTop;
    this.#place();
  }

  render() {
    const view = this.#view;
    if (!view) return;
    this.#top.row = Math.max(0, Math.min(this.#top.row, this.count - 1));
    this.#fill(view);
    this.#stopAtEnd(view);
    this.#place();
  }

  #fill(view) {
    const from = Math.max(0, this.#top.row - AROUND);
    const to = Math.min(this.count, this.#top.row + Math.ceil(view / ROW) + AROUND, from + ROWS);
    for (const [row, element] of this.#shown) {
      if (row >= from && row < to) continue;
      element.remove();
      this.#shown.delete(row);
    }
    let before = this.box.firstElementChild;
    for (let row = from; row < to; row++) {
      const known = this.#shown.get(row);
      if (known) {
        before = known.nextElementSibling;
        continue;
      }
      const element = this.draw(row);
      this.#shown.set(row, element);
      this.box.insertBefore(element, before);
    }
    if (this.wrapped) {
      for (const [row, element] of this.#shown) this.#heights.set(row, element.offsetHeight);
      this.#stretch();
    }
    this.#from = from;
  }

  #from = 0;

  /** Stops at the last row. */
  #stopAtEnd(view) {
    let [row, below] = [this.count, 0];
    while (row > 0 && below < view && row > this.#top.row - 1) below += this.#height(--row);
    const short = row < this.#top.row || (row === this.#top.row && below - this.#top.px <= view);
    this.atEnd = below <= view || short;
    if (!this.atEnd || this.count === 0) return;
    while (row > 0 && below < view) below += this.#height(--row);
    const top = { row, px: Math.max(0, below - view) };
    const moved = top.row !== this.#top.row;
    this.#top = top;
    if (!moved) return;
    this.#fill(view);
    if (!this.wrapped) return;
    // Rows that were added above may be higher than estimated.
    [row, below] = [this.count, 0];
    while (row > 0 && below < view) below += this.#height(--row);
    this.#top = { row, px: Math.max(0, below - view) };
  }

  #place() {
    let above = 0;
    for (let row = this.#from; row < this.#top.row; row++) above += this.#height(row);
    const top = this.frame.scrollTop - above - this.#top.px;
    this.box.style.transform = `translateY(${top}px)`;
    this.placed();
  }
}
