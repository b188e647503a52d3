// Makes the element of one line. All text is inserted as text: logged markup is never interpreted.

import { pieces } from "./ansi.js";
import { show } from "./steps.js";
import { clock, duration } from "../times.js";

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** `look`: { line, number, address, heading, fact, seconds, stray, marked, error, hit, search, times, began, on } */
export function row(line, look) {
  const made = element("div", "row");
  made.dataset.line = look.line;
  const number = element("a", "number", look.number);
  number.href = look.address;
  number.tabIndex = -1; // a tab stop at every line would make the page unusable; use the key l
  made.append(number);
  for (const name of ["marked", "error", "hit"]) if (look[name]) made.classList.add(name);
  if (look.error) made.append(element("span", "unseen", "First error: "));
  if (!line) {
    made.classList.add("coming");
    return made;
  }
  if (line[0] === "stderr") made.classList.add("stderr");
  if (look.times !== "off") {
    made.append(element("span", "time", look.times === "absolute" ? timeOfDay(line[2]) : since(line[2], look.began)));
  }
  if (look.heading) {
    made.classList.add("heading");
    made.classList.toggle("continued", look.heading.continued);
    made.append(toggle(look));
    if (look.fact) made.append(hidden(element("span", "sign")));
  } else if (look.stray) {
    const stray = element("span", "stray", look.stray);
    stray.title = `Of step ${look.stray}`;
    made.append(stray);
  }
  const text = element("span", "text");
  write(text, pieces(line[1]), look.search);
  made.append(text);
  if (look.heading && look.fact) {
    made.append(element("span", "took"));
    show(made, look.fact, look.heading.continued);
  } else if (look.heading && look.seconds !== null) made.append(element("span", "took", duration(look.seconds)));
  return made;
}

function hidden(made) {
  made.setAttribute("aria-hidden", "true"); // the text behind the heading says the same
  return made;
}

function toggle({ heading, on }) {
  const button = element("button", "toggle", heading.folded ? "▸" : "▾");
  button.type = "button";
  button.setAttribute("aria-expanded", String(!heading.folded));
  button.setAttribute("aria-label", `Step ${heading.step}${heading.continued ? ", continued" : ""}`);
  button.addEventListener("click", () => on.toggle(heading));
  return button;
}

function write(into, parts, search) {
  const found = search ? ranges(parts.map(([text]) => text).join(""), search) : [];
  let start = 0;
  for (const [text, classes, colours] of parts) {
    let at = 0;
    for (const [from, to] of found) {
      const [left, right] = [Math.max(0, from - start), Math.min(text.length, to - start)];
      if (right <= at || left >= text.length) continue;
      if (left > at) append(into, "span", text.slice(at, left), classes, colours);
      append(into, "mark", text.slice(Math.max(at, left), right), classes);
      at = right;
    }
    if (at < text.length) append(into, "span", text.slice(at), classes, colours);
    start += text.length;
  }
}

function append(into, name, text, classes, colours) {
  if (name === "span" && !classes && !colours) {
    into.append(text);
    return;
  }
  const made = element(name, classes, text);
  // The content security policy forbids style attributes, but allows this.
  for (const [property, value] of Object.entries(colours ?? {})) made.style.setProperty(property, value);
  into.append(made);
}

function ranges(text, search) {
  const [low, wanted] = [text.toLowerCase(), search.toLowerCase()];
  const found = [];
  for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, at + wanted.length)) {
    found.push([at, at + wanted.length]);
  }
  return found;
}

const timeOfDay = (micros) => {
  const at = new Date(micros / 1000);
  return `${at.toLocaleTimeString("sv")}.${String(at.getMilliseconds()).padStart(3, "0")}`;
};

const since = (micros, began) => `+${clock((micros - began) / 1e6)}`;
