// Single-key shortcuts, except while the user types or has switched them off.

const NAME = "shortcuts";
let on = true;

/** Stored in this browser, if it allows that. */
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
      // then it applies to this page only
    }
  },
};

/** `keys` maps a key to its function. */
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
