"""What axe-core finds on each page, light and dark: nothing that is serious."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.instance import ROOT, Instance
from tests.pages.conftest import Open, order, settled
from tests.pages.test_viewer import HOSTILE

TABS = ("steps", "attempts", "image", "inputs", "readme")
AXE = ROOT / "tests" / "node" / "node_modules" / "axe-core" / "axe.min.js"
COLOURS = "raw " + " ".join(
    f"\\x1b[{code}mcolour {code}\\x1b[0m"
    for base in (30, 40, 90, 100)
    for code in range(base, base + 8)
)


@pytest.fixture(scope="module")
def images(instance: Instance) -> dict[str, str]:
    with instance.client() as client:
        rich = order(client, *HOSTILE[:6], f"{COLOURS}\\n", public="true", readme="Read me")
        bad = order(client, "echo fine", "stderr error: no", "exit 1", public="true")
        settled(client, rich)
        settled(client, bad)
        again = client.post(f"/images/{rich}/rebuild")
        assert again.status_code == 202
        settled(client, rich)
        going = order(client, "echo begun", "sleep 600", public="true")
    return {"rich": rich, "bad": bad, "going": going}


def findings(page: Page, *, preload: bool = True) -> list[Any]:
    """Without `preload` axe leaves style sheets alone: to read those that import others it does
    what the policy forbids."""
    # As a debugger does, past the policy that keeps pages from running other scripts.
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": AXE.read_text()})
    found = page.evaluate("preload => axe.run({ preload })", preload)
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}},
        {"forced_colors": "active", "viewport": {"width": 1920, "height": 1080}},
        # What a window of 1280 has at a zoom of 200 %.
        {"color_scheme": "light", "viewport": {"width": 640, "height": 400}},
    ],
    ids=["light", "dark on a phone", "forced colours", "zoom"],
)
def test_axe_finds_nothing_serious(
    client: httpx.Client,
    instance: Instance,
    opened: Open,
    images: dict[str, str],
    options: dict[str, Any],
) -> None:
    assert AXE.is_file(), f"run `npm ci --prefix {ROOT / 'tests' / 'node'}`"
    pages = [
        ("admin", "/", ".images"),
        ("", "/", ".images"),
        ("alice", "/?whose=mine&name=", "main"),
        ("", "/sign-in", ".sign-in"),
        ("", "/i/none", ".empty"),
        ("admin", f"/i/{images['rich']}", ".text"),
        ("admin", "/new", "#picker"),
        ("alice", "/account", "#keys"),
        ("alice", "/start", ".steps"),
        *(("admin", f"/i/{images['rich']}?tab={tab}", "#details") for tab in TABS),
        ("admin", f"/i/{images['rich']}?tab=settings", ".settings"),
        ("admin", f"/i/{images['bad']}", ".row.error"),
        ("admin", f"/i/{images['going']}", ".text"),
        ("admin", "/admin/", ".system .word"),
        ("admin", "/admin/system/", ".system .plot"),
        ("admin", "/admin/system/pause/", "[type=submit]"),
    ]
    for who, path, there in pages:
        with opened(who, **options) as page:
            page.goto(f"{instance.url}{path}")
            expect(page.locator(there).first).to_be_visible()
            if page.locator("#keys").count():
                page.click("#keys")
                page.fill("#q", "e")
                expect(page.locator("#hits")).not_to_be_empty()
            if page.locator(".confirm").count():
                page.click(".confirm summary")
            assert findings(page) == [], path
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, path
