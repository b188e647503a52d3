// Lists in the admin: updates ages, and suggests values of filters while the user types.

import { tick } from "../pages/times.js";

tick();
setInterval(tick, 10_000);

for (const field of document.querySelectorAll("[data-suggest]")) {
  let asking = 0;
  field.addEventListener("input", () => {
    clearTimeout(asking);
    asking = setTimeout(() => suggest(field), 200);
  });
}

async function suggest(field) {
  const term = field.value.trim();
  if (!term) return;
  const answer = await fetch(`${field.dataset.suggest}&term=${encodeURIComponent(term)}`);
  // Users without the right to view users can still type a name.
  if (!answer.ok || answer.redirected) return;
  const { results } = await answer.json();
  field.list.replaceChildren(...results.map(({ text }) => new Option(text, text)));
}
