"use strict";
// Light, dark or the system's theme. It is set before the first paint, so this is not a module.
(() => {
  const root = document.documentElement;
  const themes = ["system", "light", "dark"];
  const stored = () => {
    try {
      return localStorage.getItem("theme") ?? "system";
    } catch {
      return "system"; // storage may be forbidden
    }
  };
  const apply = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
  };
  apply(stored());
  addEventListener("storage", () => apply(stored()));
  addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-switch]");
    const show = () => (button.textContent = `Theme: ${stored()}`);
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      const theme = themes[(themes.indexOf(stored()) + 1) % themes.length];
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // then it applies to this page only
      }
      apply(theme);
      show();
    });
  });
})();
