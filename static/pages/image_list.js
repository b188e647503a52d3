// Keeps the list up to date: writes changes into their rows, and does not move rows.

import { listen } from "./status_feed.js";
import { tick } from "./times.js";

const list = document.getElementById("list");
const line = document.getElementById("line");

// Filters change the URL as soon as a value is chosen.
const filters = document.querySelector("[data-filters]");
filters.addEventListener("change", (event) => event.target.matches("select") && filters.requestSubmit());
filters.addEventListener("submit", (event) => {
  event.preventDefault();
  const given = [...new FormData(filters)].filter(([, value]) => value);
  const asked = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  location.assign(asked.size ? `?${asked}` : location.pathname);
});

let fetching = false;
let stale = false;

/** Fetches the rows from the server: one request at a time, and one more if changes came meanwhile. */
async function refresh() {
  stale = true;
  if (fetching) return;
  fetching = true;
  try {
    while (stale) {
      stale = false;
      const answer = await fetch(location.href);
      if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  } catch {
    stale = false; // the socket reports when the server is back
  } finally {
    fetching = false;
  }
}

function take(page) {
  const fresh = page.querySelector("#list .images");
  const rows = list.querySelector(".images");
  if (!fresh || !rows) {
    if (fresh) list.replaceChildren(fresh);
    return;
  }
  const known = new Map([...rows.children].map((row) => [row.dataset.image, row]));
  const added = [];
  for (const row of fresh.children) {
    const old = known.get(row.dataset.image);
    if (!old) added.push(row);
    else if (old.textContent !== row.textContent) update(old, row);
  }
  const words = added.length === 1 ? "1 new image" : `${added.length} new images`;
  line.textContent = added.length ? words : "";
  // A row with the pointer or the focus must not move: new rows wait until it has neither.
  if (!held(rows)) rows.prepend(...added);
  tick(rows);
}

const held = (rows) => rows.matches(":hover") || rows.contains(document.activeElement);

for (const left of ["pointerleave", "focusout"]) {
  list.addEventListener(left, () => line.textContent && setTimeout(refresh));
}

function update(old, row) {
  old.dataset.word = row.dataset.word;
  // The name is not replaced: it may have the focus.
  for (const part of [".status", ".doing", ".size", ".mark", ".age"]) {
    old.querySelector(part).replaceWith(row.querySelector(part));
  }
}

function quick(told) {
  const row = list.querySelector(`[data-image="${CSS.escape(told.image_id)}"]`);
  const doing = row?.querySelector(".doing");
  if (!row || row.dataset.word !== told.state || told.state !== "building" || !told.steps) {
    refresh();
    return;
  }
  const [, clock] = [doing.firstChild, doing.querySelector(".clock")];
  doing.replaceChildren(`step ${told.step} of ${told.steps}${clock ? ", " : ""}`, ...(clock ? [clock] : []));
}

function message(told, ready) {
  if (told.type === "ready") {
    line.textContent = "";
    refresh();
  } else if (told.type === "gone") {
    list.querySelector(`[data-image="${CSS.escape(told.image_id)}"]`)?.classList.add("gone");
  } else if (told.type === "image" && ready) quick(told);
}

if (list.dataset.live === "yes") {
  listen("", {
    message,
    away: () => (line.textContent = "Connection lost, trying again"),
    signedOut: () => (line.textContent = "Sign in again to see changes."),
  });
}
