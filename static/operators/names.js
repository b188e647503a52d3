// Labels for elements of Django's admin that have none, for screen readers.

function searching(box) {
  const select = box.closest(".select2-container").previousElementSibling;
  box.setAttribute("aria-label", select?.labels?.[0]?.textContent.replace(/:\s*$/, "") ?? "Choice");
  box.removeAttribute("aria-labelledby");
  const shown = box.querySelector("[role=textbox]");
  shown?.removeAttribute("role");
  shown?.removeAttribute("aria-readonly");
}

function complete() {
  document.querySelector("#searchbar:not([aria-label])")?.setAttribute("aria-label", "Search");
  document
    .querySelectorAll(".help-tooltip[aria-label]:not([role])")
    .forEach((each) => each.setAttribute("role", "img"));
  document.querySelectorAll(".select2-selection[aria-labelledby]").forEach(searching);
}

// Scripts add search boxes and pairs of lists later.
new MutationObserver(complete).observe(document.body, { childList: true, subtree: true });
complete();
