// How each step of an attempt stands, as the server says: nothing here is read out of the log.

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

/** Says in the row of a heading how its step stands. */
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
  // Instructions that do no work take no time; where a step went on, its first heading has its time.
  if (ended > started && !continued) words.push(duration((ended - started) / 1e6));
  took.textContent = words.join(", ");
}
