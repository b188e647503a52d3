// The header of an image's page, fetched again from the server, so that its texts are in one place.

import { tick } from "./times.js";

/** @param {string} id */
const part = (id) => document.getElementById(id);
const AGAIN = 1_000;

/** @type {string | number | null} the attempt to show; one that is requested meanwhile is fetched next */
let wanted = null;
let fetching = false;

/**
 * Fetches this page again for an attempt, and shows its header and other parts.
 * @param {string | number} attempt
 * @param {string[]} others ids of further parts to replace
 */
export async function refreshHead(attempt, others = []) {
  wanted = attempt;
  if (fetching) return;
  fetching = true;
  while (wanted !== null) {
    const address = new URL(location.href);
    address.searchParams.set("attempt", String(wanted));
    address.hash = "";
    wanted = null;
    try {
      const answer = await fetch(address);
      if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"), others);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      wanted ??= attempt; // try this attempt again
    }
  }
  fetching = false;
}

/**
 * @param {Document} page
 * @param {string[]} others
 */
function show(page, others) {
  const [old, head] = [part("head"), page.getElementById("head")];
  // A button that the user is about to press is not replaced.
  if (!head || old.querySelector("details[open]")) return;
  const focused = old.contains(document.activeElement);
  old.replaceWith(head);
  if (focused) head.querySelector("a, button, summary")?.focus();
  for (const id of others) replace(part(id), page.getElementById(id));
  document.title = page.title;
  const [icon, fresh] = [part("icon"), page.getElementById("icon")];
  if (icon && fresh && icon.getAttribute("href") !== fresh.getAttribute("href")) icon.replaceWith(fresh);
  tick(head);
  dispatchEvent(new Event("slipway:head"));
}

/** Except while the user is using it, or has selected some of its text. */
function replace(old, fresh) {
  if (!old || !fresh || old.outerHTML === fresh.outerHTML) return;
  const selection = getSelection();
  const marked = selection && !selection.isCollapsed && old.contains(selection.anchorNode);
  if (!marked && !old.contains(document.activeElement)) old.replaceWith(fresh);
}
