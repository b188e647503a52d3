// For every page: running clocks and copy buttons.

import { tick } from "./times.js";
import { copy } from "./copying.js";

tick();
setInterval(tick, 1000);

const reveal = () => {
  for (const button of document.querySelectorAll("[data-copy], [data-copy-of]")) button.hidden = false;
};
reveal();
addEventListener("slipway:head", reveal);

// Escape and a click elsewhere close what a summary opens over the page.

const POPOVERS = "details.confirm[open]";

addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.querySelector(POPOVERS);
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});
addEventListener("pointerdown", (event) => {
  for (const each of document.querySelectorAll(POPOVERS)) if (!event.composedPath().includes(each)) each.open = false;
});

addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy], [data-copy-of]");
  if (!button) return;
  const { copy: text, copyOf: id } = button.dataset;
  const done = await copy(text ?? document.getElementById(id).textContent);
  button.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
});
