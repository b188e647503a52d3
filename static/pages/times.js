// Times and durations as text, worded like common/humanize.py.

/** With tenths below a second: most steps of a build take less. */
export function duration(seconds) {
  if (seconds >= 0 && seconds < 1) return `${(Math.floor(seconds * 10) / 10).toFixed(1)} s`;
  return clock(seconds);
}

/** For something that still runs, in whole seconds. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function ago(at) {
  const seconds = (Date.now() - at) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 30 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return new Date(at).toLocaleDateString("sv");
}

/** Updates clocks and ages, and shows exact times in the reader's time zone. */
export function tick(within = document) {
  for (const element of within.querySelectorAll("[data-since]")) {
    put(element, clock((Date.now() - Date.parse(element.dataset.since)) / 1000));
  }
  for (const time of within.querySelectorAll("time[data-ago]")) {
    const at = Date.parse(time.dateTime);
    put(time, ago(at));
    time.title = new Date(at).toLocaleString("sv", { timeZoneName: "short" });
  }
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
