// A new image from the browser: packs files and sends them with a progress bar.

import { archive, chosen, dropped } from "./files.js";
import { pack } from "./tar.js";

const part = (id) => document.getElementById(id);
const form = part("send");
const SHOWN = 200;
const LONG_DOCKERFILE = 1024 * 1024;

/** @type {Map<string, File>} */
const files = new Map();
let typed = false;
/** @type {XMLHttpRequest | null} */
let request = null;

part("archive").hidden = true;
part("archive").querySelector("input").disabled = true;
part("picker").hidden = false;

function pick(folder) {
  const input = document.createElement("input");
  Object.assign(input, { type: "file", multiple: true, webkitdirectory: folder });
  input.addEventListener("change", () => add(chosen(input.files)));
  input.click();
}

function add(more) {
  for (const [path, file] of more) files.set(path, file);
  if (more.size && part("keep")) part("keep").checked = false;
  const own = more.get("Dockerfile");
  if (own && !typed && own.size < LONG_DOCKERFILE) own.text().then((text) => (part("dockerfile").value = text));
  show();
}

const total = () => [...files.values()].reduce((sum, { size }) => sum + size, 0);
const megabytes = (size) => (size >= 100_000 ? `${(size / 1e6).toFixed(1)} MB` : `${(size / 1e3).toFixed(1)} kB`);

function show() {
  const most = Number(form.dataset.most);
  const over = total() > most ? `: more than the ${megabytes(most)} that may be sent, unless they compress well` : "";
  const hidden = files.size > SHOWN ? `, of which the first ${SHOWN} are shown` : "";
  part("total").textContent = files.size
    ? `${files.size.toLocaleString("en")} file${files.size === 1 ? "" : "s"}, ${megabytes(total())}${over}${hidden}`
    : "";
  part("clear").hidden = !files.size;
  const rows = [...files].sort(([one], [other]) => (one < other ? -1 : 1)).slice(0, SHOWN);
  part("files").replaceChildren(...rows.map(([path, { size }]) => row(path, size)));
}

function row(path, size) {
  const made = document.createElement("li");
  const [name, bytes, remove] = ["span", "span", "button"].map((each) => document.createElement(each));
  Object.assign(name, { className: "path", textContent: path });
  Object.assign(bytes, { className: "bytes", textContent: megabytes(size) });
  Object.assign(remove, { type: "button", className: "quiet", textContent: "Remove", ariaLabel: `Remove ${path}` });
  remove.addEventListener("click", () => (files.delete(path), show(), part("pick-files").focus()));
  made.append(name, bytes, remove);
  return made;
}

function busy(on) {
  part("go").disabled = on;
  part("sent").hidden = !on;
  if (!on) part("stop").hidden = true;
}

const say = (text) => (part("state").textContent = text);

function problem(text) {
  const made = document.createElement("p");
  Object.assign(made, { className: "reason", textContent: text });
  part("problems").replaceChildren(made);
  part("problems").scrollIntoView({ block: "nearest" });
}

async function submit() {
  const data = new FormData(form);
  data.delete("context");
  busy(true);
  part("problems").replaceChildren();
  part("sent").removeAttribute("value");
  try {
    if (files.size) {
      say("Packing");
      data.append("context", archive(files) ?? (await pack(files)));
    }
  } catch (error) {
    busy(false);
    say("");
    problem(`The files could not be read: ${error.message}. Choose them again.`);
    return;
  }
  send(data);
}

function send(data) {
  const sending = (request = new XMLHttpRequest());
  part("stop").hidden = false;
  sending.open("POST", location.href);
  sending.responseType = "text";
  sending.upload.addEventListener("progress", ({ loaded, total: whole }) => {
    Object.assign(part("sent"), { max: whole, value: loaded });
    say(loaded < whole ? `${megabytes(loaded)} of ${megabytes(whole)} sent` : "Sent, waiting for the answer");
  });
  sending.addEventListener("load", () => answered(sending));
  sending.addEventListener("error", () => ended("The connection broke before everything was sent. Try again."));
  sending.addEventListener("abort", () => ended(""));
  sending.send(data);
}

function ended(text) {
  request = null;
  busy(false);
  say("");
  if (text) problem(text);
}

/** Either the build was accepted, or the same page came back with errors. */
function answered({ status, responseURL, responseText }) {
  if (status === 200 && new URL(responseURL).pathname.startsWith("/i/")) {
    location.assign(responseURL);
    return;
  }
  const page = new DOMParser().parseFromString(responseText, "text/html");
  if (!page.getElementById("send")) {
    ended(detail(responseText) ?? `The server answered ${status}. Reload the page and try again.`);
    return;
  }
  ended("");
  part("problems").replaceChildren(...page.getElementById("problems").childNodes);
  let first = null;
  for (const fresh of page.querySelectorAll(".problem")) {
    const old = part(fresh.id);
    old.textContent = fresh.textContent;
    const field = form.elements[fresh.id.replace("problem-", "")];
    if (field?.setAttribute) field.setAttribute("aria-invalid", String(Boolean(fresh.textContent)));
    if (fresh.textContent && field?.focus) first ??= field;
  }
  first?.closest("details")?.setAttribute("open", "");
  first?.focus();
}

function detail(text) {
  try {
    const { detail: found } = JSON.parse(text);
    return typeof found === "string" ? found : null;
  } catch {
    return null;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!part("go").disabled) submit();
});
part("dockerfile").addEventListener("input", () => (typed = true));
part("pick-files").addEventListener("click", () => pick(false));
part("pick-folder").addEventListener("click", () => pick(true));
part("clear").addEventListener("click", () => (files.clear(), show(), part("pick-files").focus()));
part("stop").addEventListener("click", () => request?.abort());

const drop = part("drop");
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", over);
    if (name === "drop") dropped(event.dataTransfer).then(add, () => problem("These files cannot be read."));
  });
}
