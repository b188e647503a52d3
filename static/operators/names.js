// Names for what Django's admin leaves without one, so that everybody can be told what it is.

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

// Boxes that search while one types, and pairs of lists, are made by scripts later.
new MutationObserver(complete).observe(document.body, { childList: true, subtree: true });
complete();
