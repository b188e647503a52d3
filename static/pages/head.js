// The head of an image's page: fetched again from the server, which knows how to word it.

import { tick } from "./times.js";

/** @param {string} id */
const part = (id) => document.getElementById(id);
const AGAIN = 1_000;

/** @type {string | number | null} the attempt to show; what is asked for meanwhile is fetched next */
let wanted = null;
let fetching = false;

/**
 * Fetches this page again for an attempt, and shows its head and what else is given.
 * @param {string | number} attempt
 * @param {string[]} others ids of further parts to take over
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
      wanted ??= attempt; // what it stands at must not stay unsaid
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
  // Somebody about to press a button keeps the one that is there.
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

/** Unless somebody is at it, or has marked some of it. */
function replace(old, fresh) {
  if (!old || !fresh || old.outerHTML === fresh.outerHTML) return;
  const selection = getSelection();
  const marked = selection && !selection.isCollapsed && old.contains(selection.anchorNode);
  if (!marked && !old.contains(document.activeElement)) old.replaceWith(fresh);
}
