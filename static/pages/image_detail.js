// The page of one image: its log with all controls, and a header that is kept up to date.

import { copy } from "./copying.js";
import { refreshHead as refresh } from "./head.js";
import { listen as listenToKeys, shortcuts } from "./log/keys.js";
import { all, some } from "./log/text.js";
import { Search } from "./log/search.js";
import { Viewer } from "./log/viewer.js";
import { listen } from "./status_feed.js";
import "./notify.js";

const part = (id) => document.getElementById(id);
const section = part("log");

const viewer = new Viewer(section, { changed, status, state: say, ended });
const search = new Search(viewer.lines, (number) => {
  viewer.search = search.text ? { text: search.text, at: number ?? viewer.search?.at } : null;
  if (number === undefined) viewer.scroller.refresh();
  else viewer.show(number);
  part("hits").textContent = search.words;
  part("next").disabled = part("previous").disabled = !search.hits.length;
});

let unsay = 0;

/** The line that screen readers read out; it is cleared after some time, if one is given. */
function say(text, milliseconds = 0) {
  clearTimeout(unsay);
  if (part("state").textContent !== text) part("state").textContent = text;
  if (milliseconds) unsay = setTimeout(() => say(""), milliseconds);
}

let followed = false;

function changed() {
  press("follow", viewer.following);
  if (viewer.following && !followed) endInView();
  followed = viewer.following;
  part("follow").disabled = !viewer.live;
  part("error").hidden = viewer.error === null;
  part("fold").disabled = !viewer.folds.steps.length;
  const fresh = viewer.live ? viewer.fresh : 0;
  part("pill").hidden = !fresh;
  part("pill").textContent = `↓ ${fresh.toLocaleString("en")} new line${fresh === 1 ? "" : "s"}`;
}

/** In a low window the page itself scrolls, and the end of the log may be below the visible part. */
function endInView() {
  const { bottom } = section.getBoundingClientRect();
  if (bottom > innerHeight + 1) section.scrollIntoView({ block: "end" });
}

new ResizeObserver(() => viewer.following && endInView()).observe(section.parentElement);

const press = (id, on) => part(id).setAttribute("aria-pressed", String(on));

// The server renders the header, so that its texts are in one place.

let known = `${section.dataset.state}`;

function status(message) {
  const bar = part("bar");
  if (bar && message.steps) {
    bar.max = message.steps;
    bar.value = message.step;
    if (part("step").textContent.startsWith("St")) {
      part("step").textContent = `Step ${message.step} of ${message.steps}`;
    }
  }
  const now = `${message.state ?? message.status}${message.attempt}${message.status}`;
  if (now !== known) {
    known = now;
    refreshHead(message.attempt);
  }
}

const refreshHead = (attempt = viewer.lines.last.attempt) => refresh(attempt);

// Somebody may build the image again, here or elsewhere, after this log has ended.

const ENDS = { succeeded: "succeeded", failed: "failed", cancelled: "was cancelled" };
let stands = null;

/** `state` is set if the reader saw the build end. */
function ended(state) {
  const at = viewer.error === null ? "" : ` First error: line ${viewer.lines.place(viewer.error).own + 1}.`;
  say(state ? `The build ${ENDS[state] ?? "has ended"}.${at}` : "");
  listen(`?image=${section.dataset.image}`, { message: moved });
}

function moved({ type, attempt, state }) {
  if (type !== "image" || stands === `${attempt}${state}`) return;
  const { attempt: shown, current } = part("head").dataset;
  // The state at the time of the page's rendering is shown already.
  if (stands !== null || (current === "yes" && attempt > Number(shown))) refreshHead();
  if (attempt > viewer.lines.last.attempt && ["queued", "building"].includes(state)) {
    say(`Attempt ${attempt} is ${state}: it stands above`);
  }
  stands = `${attempt}${state}`;
}

setInterval(() => {
  const moving = ["queued", "building"].includes(part("head").dataset.word);
  if (moving && !document.hidden) refreshHead();
}, 5_000);

// Controls and their shortcuts.

let finding = 0;
function find() {
  clearTimeout(finding);
  finding = setTimeout(async () => {
    try {
      await search.find(part("q").value, viewer.folds.line(viewer.scroller.firstRow));
    } catch {
      part("hits").textContent = "The server refused";
    }
  }, 200);
}

let wrapped = false;
function wrap() {
  wrapped = !wrapped;
  press("wrap", wrapped);
  viewer.wrap(wrapped);
}

const TIMES = ["off", "absolute", "relative"];
function times() {
  viewer.times = TIMES[(TIMES.indexOf(viewer.times) + 1) % TIMES.length];
  part("times").textContent = `Times: ${viewer.times}`;
  viewer.scroller.refresh();
}

function help() {
  const hidden = !part("help").hidden;
  part("help").hidden = hidden;
  part("keys").setAttribute("aria-expanded", String(!hidden));
}

part("shortcuts").checked = shortcuts.on;
part("shortcuts").addEventListener("change", (event) => (shortcuts.on = event.target.checked));
section.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || part("help").hidden || event.target === part("q")) return;
  help();
  part("keys").focus();
});

const toError = () => viewer.error !== null && viewer.show(viewer.error);
const follow = () => viewer.follow(!viewer.following);
const toStart = () => (viewer.follow(false), viewer.scroller.toRow(0));
const toEnd = () => viewer.follow(true);
const markTop = (more) => viewer.mark(viewer.folds.line(viewer.scroller.firstRow), more);

async function copyText() {
  const { range } = viewer.marks;
  say("Copying");
  try {
    const { text, count, whole } = range
      ? await some(viewer.lines, range.from, range.to + 1)
      : await all(part("raw").href);
    const lines = `${count.toLocaleString("en")} ${range ? "marked " : ""}line${count === 1 ? "" : "s"}`;
    if (!(await copy(text))) say("The browser does not allow copying. Raw downloads the log.");
    else if (whole) say(`Copied ${lines}`, 4_000);
    else say(`Copied the first ${lines}. Raw downloads all of them.`);
  } catch {
    say("The log could not be read. Try again.");
  }
}

part("find").addEventListener("submit", (event) => {
  event.preventDefault();
  if (search.text === part("q").value) search.step(1);
  else find();
});
part("q").addEventListener("input", find);
part("q").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    part("q").value = "";
    find();
    part("scroller").focus();
  }
});
const CLICKS = { next: () => search.step(1), previous: () => search.step(-1), error: toError, follow, wrap, times };
Object.assign(CLICKS, { fold: () => viewer.foldAll(), copy: copyText, keys: help, pill: toEnd });
for (const [id, act] of Object.entries(CLICKS)) part(id).addEventListener("click", () => act());
listenToKeys({
  n: () => search.step(1),
  N: () => search.step(-1),
  e: toError,
  g: toStart,
  G: toEnd,
  f: follow,
  w: wrap,
  t: times,
  l: () => markTop(false),
  L: () => markTop(true),
  "/": () => part("q").focus(),
  "?": help,
});
addEventListener("beforeprint", () => !wrapped && viewer.wrap(true));
addEventListener("afterprint", () => !wrapped && viewer.wrap(false));

try {
  await viewer.open();
  if (!viewer.live && !viewer.feed) ended();
} catch {
  say("The server refused the log: reload to try again");
}
