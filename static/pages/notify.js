// The link to share, and on request a notification of the browser when the build ends.

import { copy } from "./copying.js";

const ENDS = { succeeded: "succeeded", failed: "failed", cancelled: "was cancelled" };
const MOVING = ["queued", "building"];
const SAID = 1_500;

let asked = false;
let before = "";

function head() {
  const found = document.getElementById("head");
  return { word: found.dataset.word, title: found.querySelector("h1")?.textContent ?? document.title };
}

/** Shows the buttons that this browser supports. */
function prepare() {
  const { word, title } = head();
  const notify = document.getElementById("notify");
  if (notify) {
    notify.hidden = !("Notification" in window) || !isSecureContext || Notification.permission === "denied";
    notify.setAttribute("aria-pressed", String(asked));
  }
  if (asked && MOVING.includes(before) && ENDS[word]) {
    asked = false;
    const told = new Notification(`${title} ${ENDS[word]}`, { tag: location.pathname });
    told.onclick = () => (window.focus(), told.close());
  }
  before = word;
  const button = document.getElementById("share");
  if (button) button.hidden = false;
}

async function toggle() {
  asked = !asked && (await Notification.requestPermission()) === "granted";
  prepare();
}

async function share(button) {
  const address = new URL(button.dataset.address);
  address.hash = location.hash;
  const done = await copy(address.href);
  button.textContent = done ? "Link copied" : "Not copied";
  setTimeout(() => (button.textContent = "Share"), SAID);
}

addEventListener("click", ({ target }) => {
  if (target.closest?.("#notify")) toggle();
  const button = target.closest?.("#share");
  if (button) share(button);
});
addEventListener("slipway:head", prepare);
prepare();
