// Follows a log with npm's `eventsource` until it stops by itself, and prints what it got as JSON.
// Usage: node follow.js URL KEY
import { EventSource } from "eventsource";

const [url, key] = process.argv.slice(2);
const got = { lines: [], opened: 0, status: null };
const source = new EventSource(url, {
  fetch: (address, options) =>
    fetch(address, { ...options, headers: { ...options.headers, Authorization: key } }),
});
source.onopen = () => got.opened++;
source.onmessage = (event) => got.lines.push(JSON.parse(event.data).log.log);
source.addEventListener("done", (event) => {
  got.status = JSON.parse(event.data);
});
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) console.log(JSON.stringify(got));
};
