// Single keys, as long as nobody is writing and the reader has not switched them off.

const NAME = "shortcuts";
let on = true;

/** Kept in this browser, where it may store anything. */
export const shortcuts = {
  get on() {
    try {
      return localStorage.getItem(NAME) !== "off";
    } catch {
      return on;
    }
  },
  set on(value) {
    on = value;
    try {
      localStorage.setItem(NAME, value ? "on" : "off");
    } catch {
      // it holds for this page then
    }
  },
};

/** `keys` maps a key to what it does. */
export function listen(keys) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    const act = keys[event.key];
    if (!act || !shortcuts.on) return;
    event.preventDefault();
    act();
  });
}
