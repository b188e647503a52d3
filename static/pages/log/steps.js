// The state of each step of an attempt, from the server. Nothing is parsed from the log.

import { clock, duration } from "../times.js";

const MARKS = { running: "◐", cached: "●", succeeded: "●", failed: "✕", cancelled: "⊘" };

export class Steps {
  #facts = new Map(); // attempt -> number -> { state, started, ended }, in microseconds

  /** `list` is the `step_list` of an answer. */
  load(attempt, list = []) {
    for (const { number, state, started, ended } of list) this.#put(attempt, number, state, started, ended);
  }

  /** `rows` are the `step_states` of a message. */
  update(attempt, rows = []) {
    for (const [number, state, started, ended] of rows) this.#put(attempt, number, state, started, ended);
  }

  #put(attempt, number, state, started, ended) {
    if (!this.#facts.has(attempt)) this.#facts.set(attempt, new Map());
    this.#facts.get(attempt).set(number, { state, started, ended });
  }

  of(attempt, number) {
    return this.#facts.get(attempt)?.get(number);
  }

  /** The number of the step that failed, if one did. */
  failed(attempt) {
    const found = [...(this.#facts.get(attempt) ?? [])];
    return found.find(([, { state }]) => state === "failed")?.[0];
  }
}

/** Shows the state of a step in the row of its heading. */
export function show(row, fact, continued) {
  const [sign, took] = [row.querySelector(".sign"), row.querySelector(".took")];
  sign.className = `sign ${fact.state}`;
  sign.textContent = MARKS[fact.state] ?? "";
  const { state, started, ended } = fact;
  delete took.dataset.since;
  if (state === "running") {
    took.dataset.since = new Date(started / 1000).toISOString();
    took.textContent = clock((Date.now() - started / 1000) / 1000);
    return;
  }
  const words = ["failed", "cancelled"].includes(state) ? [state] : [];
  // Instructions without work have no time; for a continued step, the first heading has the time.
  if (ended > started && !continued) words.push(duration((ended - started) / 1e6));
  took.textContent = words.join(", ");
}
