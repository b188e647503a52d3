// Keeps a tab of an image's page up to date with its build.

import { refreshHead } from "./head.js";
import { listen } from "./status_feed.js";
import "./notify.js";

const MOVING = ["queued", "building"];
const EACH = 2_000;
const PARTS = ["details"];

const head = () => document.getElementById("head").dataset;
const refresh = (attempt = head().attempt) => refreshHead(attempt, PARTS);

let stands = null;
listen(`?image=${head().image}`, {
  message({ type, attempt, state }) {
    if (type !== "image" || stands === `${attempt}${state}`) return;
    // The state at the time of the page's rendering is shown already.
    if (stands !== null) refresh(head().current === "yes" ? attempt : undefined);
    stands = `${attempt}${state}`;
  },
});

setInterval(() => {
  if (MOVING.includes(head().word) && !document.hidden) refresh();
}, EACH);
