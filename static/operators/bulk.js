// A running bulk action: this page continues it while it is open; otherwise the server does.

const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function ask(options) {
  const answer = await fetch(location.href, options);
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.getElementById("bulk").replaceWith(page.getElementById("bulk"));
  document.title = page.title;
}

for (;;) {
  const bulk = document.getElementById("bulk");
  const waiting = Number(bulk.dataset.waiting);
  if (!waiting && !Number(bulk.dataset.left)) break;
  try {
    if (waiting) await ask({ method: "POST", body: new FormData(document.getElementById("carry-on")) });
    else await rest(2_000).then(() => ask());
  } catch {
    await rest(3_000); // the server continues without this page
  }
}
