// Shows the heading of the topmost step while its own row is above the visible ones.

import { show } from "./steps.js";

export class Sticky {
  #step = null;
  #box = document.createElement("div");
  #row = document.createElement("div");
  #sign = document.createElement("span");
  #text = document.createElement("span");
  #took = document.createElement("span");

  /**
   * @param {HTMLElement} frame the scroller
   * @param {(step: object) => void} go called with the step whose heading was clicked
   */
  constructor(frame, go) {
    this.#box.className = "sticky";
    this.#box.hidden = true;
    this.#box.setAttribute("aria-hidden", "true"); // the real heading is among the rows
    this.#row.className = "row heading";
    [this.#sign.className, this.#text.className, this.#took.className] = ["sign", "text", "took"];
    this.#row.append(this.#sign, this.#text, this.#took);
    this.#row.title = "To the start of this step";
    this.#row.addEventListener("click", () => go(this.#step));
    this.#box.append(this.#row);
    frame.prepend(this.#box);
  }

  /** Null hides it; `fact` is the state of the step, if it is known. */
  show(step, fact) {
    this.#box.hidden = !step;
    if (!step) return;
    if (step !== this.#step) {
      this.#step = step;
      this.#text.textContent = step.text;
      [this.#sign.textContent, this.#took.textContent] = ["", ""];
    }
    if (fact) show(this.#row, fact, step.continued);
  }
}
