/* Updates the system page every few seconds, while it is visible. */
const EVERY = 5_000;
const line = document.getElementById("line");

function busy(live) {
  const active = document.activeElement;
  const selection = document.getSelection();
  return live.contains(active) || live.querySelector("details[open]") !== null
    || (selection !== null && !selection.isCollapsed);
}

async function refresh() {
  const live = document.getElementById("live");
  if (document.hidden || busy(live)) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (fresh === null) throw new Error("no such page any more");
    if (!busy(live)) live.replaceWith(document.adoptNode(fresh));
    line.textContent = "";
  } catch {
    line.textContent = "Slipway is unreachable; this is its last known state.";
  }
}

setInterval(refresh, EVERY);
