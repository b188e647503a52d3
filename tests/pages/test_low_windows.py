"""Pages in low and narrow windows, under forced colours, by keyboard and for screen readers."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.instance import Instance
from tests.pages.conftest import PASSWORD, Open, order, settled, sign_in

HALF = 2  # at 200 % zoom, half as many CSS pixels of twice the size


@pytest.mark.parametrize(
    ("width", "height", "zoom"),
    [(844, 390, 1), (1280 // HALF, 800 // HALF, HALF), (360, 640, 1), (1280, 800, 1)],
    ids=["phone on its side", "200 % zoom", "phone", "desktop"],
)
def test_the_end_of_the_log_is_in_view_while_it_is_followed(
    client: httpx.Client,
    instance: Instance,
    opened: Open,
    public_path: Path,
    width: int,
    height: int,
    zoom: int,
) -> None:
    gate, end = public_path / "go", public_path / "end"
    image_id = order(
        client, f"repeat 300 early ;; until {gate} ;; repeat 50 late ;; until {end}", readme="Read"
    )
    size = {"width": width, "height": height}
    with opened(viewport=size, device_scale_factor=zoom) as page:
        page.goto(f"{instance.url}/i/{image_id}")
        last = page.get_by_text("299 early", exact=True)
        expect(last).to_be_in_viewport(ratio=0.9)
        gate.touch()
        last = page.get_by_text("49 late", exact=True)
        expect(last).to_be_in_viewport(ratio=0.9)
        # Whoever scrolls the page up to its head stays there.
        page.evaluate("scrollTo(0, 0)")
        expect(page.locator("h1")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        end.touch()
        settled(client, image_id)


@pytest.mark.parametrize(("last", "words"), [("echo done", "succeeded"), ("exit 3", "failed")])
def test_the_end_of_a_build_is_announced_once(
    client: httpx.Client, instance: Instance, page: Page, public_path: Path, last: str, words: str
) -> None:
    gate = public_path / "go"
    image_id = order(client, f"echo begun ;; stderr error: it broke ;; until {gate} ;; {last}")
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator("#rows")).to_contain_text("begun")
    page.evaluate(
        """() => {
          window.said = [];
          const state = document.getElementById("state");
          const note = () => said.push(state.textContent);
          new MutationObserver(note).observe(state, { childList: true });
        }"""
    )
    gate.touch()
    line = page.locator("#state[role=status][aria-live=polite]")
    expect(line).to_contain_text(f"The build {words}.")
    expect(page.locator("#head")).to_have_attribute("data-word", words)
    said = [each for each in page.evaluate("said") if each]
    assert len(said) == 1
    assert ("First error: line " in said[0]) == (words == "failed")


@pytest.mark.parametrize("forced", ["none", "active"])
def test_the_error_mark_is_on_the_visible_edge_also_under_forced_colours(
    client: httpx.Client, instance: Instance, opened: Open, forced: str
) -> None:
    image_id = order(client, "echo a", "stderr error: no", "exit 1")
    settled(client, image_id)
    with opened(forced_colors=forced) as page:
        page.goto(f"{instance.url}/i/{image_id}")
        number = page.locator(".row.error .number")
        expect(number).to_be_visible()
        width, style, colour = number.evaluate(
            "e => (({ borderLeftWidth, borderLeftStyle, borderLeftColor }) => "
            "[borderLeftWidth, borderLeftStyle, borderLeftColor])(getComputedStyle(e))"
        )
        assert (style, float(width.removesuffix("px")) >= 3) == ("solid", True)
        assert colour != number.evaluate("e => getComputedStyle(e).backgroundColor")
        box, row = number.bounding_box(), page.locator(".row.error").bounding_box()
        assert box
        assert row
        assert box["x"] == row["x"]


def test_the_delete_box_closes_by_escape_and_by_a_click_elsewhere(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    image_id = order(client, "echo a")
    settled(client, image_id)
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator("#head")).to_have_attribute("data-word", "succeeded")
    summary, box = page.locator(".confirm summary"), page.locator(".confirm form")
    summary.click()
    page.locator(".confirm .danger").focus()
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(summary).to_be_focused()
    summary.click()
    box.locator("p").click()
    expect(box).to_be_visible()
    page.locator("h1").click()
    expect(box).to_be_hidden()


def test_the_queue_of_the_admin_fits_a_phone(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    ids = [
        order(client, f"until {gate}", name=f"a-rather-long-name-of-an-image-{n}") for n in range(6)
    ]
    with opened(viewport={"width": 360, "height": 740}) as page:
        page.goto(f"{instance.url}/admin/builds/build/queue/")
        expect(page.locator(".queue").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for table in page.locator(".queue").all():
            assert table.evaluate("each => each.scrollWidth - each.clientWidth") == 0
        expect(page.get_by_role("link", name="Cancel").first).to_be_in_viewport(ratio=1)
    gate.touch()
    for image_id in ids:
        settled(client, image_id)


def test_a_page_from_before_signing_out_is_told_apart_and_leads_back(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(client, "echo a", public="true")
    settled(client, image_id)
    with opened("") as page:
        sign_in(page, instance.url, "alice", PASSWORD)
        page.goto(f"{instance.url}/i/{image_id}")
        other = page.context.new_page()
        other.goto(f"{instance.url}/")
        other.get_by_role("button", name="Sign out").click()
        sign_in(other, instance.url, "alice", PASSWORD)
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("h1")).to_have_text("Page out of date")
        page.get_by_role("link", name="Back to the page").click()
        expect(page).to_have_url(f"{instance.url}/i/{image_id}")
        answer = page.goto(f"{instance.url}/no/such/page")
        assert answer
        assert answer.status == 404
        expect(page.locator("h1")).to_have_text("Not found")
