// Updates a part of a page, except while the user is about to press something in it.

import { tick } from "../pages/times.js";

const part = document.getElementById("live");
if (part) setInterval(refresh, Number(part.dataset.live));

async function refresh() {
  const old = document.getElementById("live");
  if (document.hidden || old.matches(":hover") || old.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (!fresh) return;
    old.replaceWith(fresh);
    tick(fresh);
  } catch {
    // the next round tries again
  }
}
