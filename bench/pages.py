"""The cost of a log of a million lines in a browser: time to a linked line, memory, frames."""

import time
from collections.abc import Iterator

from playwright.sync_api import Page, sync_playwright

from bench.figures import Figure
from tests.instance import Instance
from tests.long_log import stored

LINES = 1_000_000
LINKED = 700_000
WHEELED = 10_000
ROW = 20
FLAGS = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
FRAMES = """
() => {
  window.longest = 0;
  let before = performance.now();
  const next = (now) => {
    window.longest = Math.max(window.longest, now - before);
    before = now;
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
}
"""


def run(instance: Instance) -> Iterator[Figure]:
    image_id = stored(instance, LINES, name="bench-pages")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        # The second time the scripts are in the browser's cache, as for every visit but the first.
        for name in ("first", "second"):
            seconds = _to_line(page, f"{instance.url}/i/{image_id}", LINKED)
            yield Figure(
                name=f"pages.permalink.{name}",
                value=seconds,
                unit="s",
                ratio_to="1 s",
                ratio=seconds,
            )
        longest = _wheel(page)
        yield Figure(
            name="pages.longest_frame",
            value=longest,
            unit="ms",
            ratio_to="100 ms",
            ratio=longest / 100,
        )
        heap = float(page.evaluate("performance.memory.usedJSHeapSize")) / 1024**2
        yield Figure(name="pages.heap", value=heap, unit="MiB", ratio_to="80 MiB", ratio=heap / 80)
        rows = page.locator("#rows .row").count()
        yield Figure(name="pages.rows", value=rows, unit="rows", ratio_to="200", ratio=rows / 200)
        browser.close()


def _to_line(page: Page, address: str, line: int) -> float:
    """Seconds until its text is visible."""
    page.goto("about:blank")
    began = time.monotonic()
    page.goto(f"{address}#L{line}", wait_until="commit")
    page.locator(f'.row[data-line="{line}"] .text', has_text=f"line {line} of").wait_for()
    return time.monotonic() - began


def _wheel(page: Page) -> float:
    """The longest frame in milliseconds while the mouse wheel turns."""
    page.hover("#scroller")
    page.evaluate(FRAMES)
    for _ in range(WHEELED // 50):
        page.mouse.wheel(0, 50 * ROW)
        page.wait_for_timeout(16)
    first = page.locator("#rows .row").first
    first.evaluate("() => new Promise((resolve) => setTimeout(resolve, 500))")
    top = int(first.get_attribute("data-line") or 0)
    if top < LINKED + WHEELED * 0.9:
        raise RuntimeError(f"the wheel only got to line {top}")
    return float(page.evaluate("window.longest"))
