// Text into the clipboard, also where the page came over plain http.

/** Returns whether it worked. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    const had = document.activeElement;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    had?.focus();
    return done;
  }
}
