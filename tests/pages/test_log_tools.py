"""The tools of the log page: copying, downloading, links, the error mark, colours, shortcuts."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.instance import Instance
from tests.pages.conftest import Open, order, settled
from tests.test_sse_clients import restart_soon

CLIPBOARD = ["clipboard-read", "clipboard-write"]
MAKE = (
    "raw warning: error handling is unused\\x0a",
    "raw checking for x... error: no such header (ignored)\\x0a",
    "repeat 60 of noise",
    "stderr cc -c a.c",
    "stderr a.c:3:5: error: expected ';'",
    "stderr make: *** [a.o] Error 1",
)
CONTRAST = """
(each) => {
  const parse = (text) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = (node) => {
    const found = parse(getComputedStyle(node).backgroundColor);
    return found[3] ? found : ground(node.parentElement);
  };
  const luminance = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, at) => {
    const share = rgb[at] / 255;
    return sum + weight * (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
  }, 0);
  const both = [parse(getComputedStyle(each).color), ground(each)].map(luminance);
  both.sort((a, b) => a - b);
  return (both[1] + 0.05) / (both[0] + 0.05);
}
"""


def clipboard(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_copy_and_raw_take_every_line_while_the_build_runs(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    image_id = order(client, f"repeat 3900 of many ;; until {gate}", name="team/tools")
    with opened(permissions=CLIPBOARD) as page:
        page.goto(f"{instance.url}/i/{image_id}")
        expect(page.locator("#rows")).to_contain_text("3899 of many")
        page.click("#copy")
        expect(page.locator("#state")).to_have_text(re.compile(r"^Copied 3,90\d lines$"))
        copied = clipboard(page)
        assert [line for line in copied.split("\n") if line.endswith(" of many")] == [
            f"{number} of many" for number in range(3900)
        ]
        with page.expect_download() as download:
            page.click("#raw")
        assert download.value.suggested_filename == "admin-team-tools-1-attempt-1.log"
        assert Path(download.value.path()).read_text() == copied
        gate.touch()
        assert settled(client, image_id) == "succeeded"


def test_copy_takes_every_marked_line_and_says_when_there_are_too_many(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(
        client, "repeat 7000 of many", "raw \\x1b[31mred\\x1b[0m\\n", "long 900000 0123456789"
    )
    settled(client, image_id)
    with opened(permissions=CLIPBOARD) as page:
        page.goto(f"{instance.url}/i/{image_id}?attempt=1#L101-L6100")
        expect(page.locator("#rows .marked")).not_to_have_count(0)
        page.click("#copy")
        expect(page.locator("#state")).to_have_text("Copied 6,000 marked lines")
        lines = clipboard(page).split("\n")
        archive = client.get(f"/images/{image_id}/logs").text.split("\n")
        assert lines == archive[100:6100]
        page.goto(f"{instance.url}/")
        page.goto(f"{instance.url}/i/{image_id}")
        expect(page.locator("#rows")).to_contain_text("0 of many")
        page.click("#copy")
        expect(page.locator("#state")).to_have_text(
            re.compile(r"^Copied the first 7,\d{3} lines. Raw downloads all of them.$"),
            timeout=20_000,
        )
        assert "\nred\n" in clipboard(page)


@pytest.mark.long
def test_a_link_to_a_line_names_its_attempt_after_a_restart(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(
        client, *(step for n in range(8) for step in (f"repeat 30 of {n}", "sleep 0.4"))
    )
    with opened() as page:
        page.goto(f"{instance.url}/i/{image_id}")
        expect(page.locator("#rows")).to_contain_text(re.compile("of [1-9]"))
        restart_soon(instance).join()
        expect(page.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=60_000)
        expect(page.locator("#log")).to_have_attribute("data-ended", "yes")
        page.keyboard.press("G")
        row = page.locator("#rows .row", has_text="15 of 7")
        text = row.locator(".text").inner_text()
        link = row.locator(".number").get_attribute("href") or ""
        assert re.fullmatch(r"\?attempt=2#L\d+", link)
        row.locator(".number").click()
        assert page.url.endswith(link)
        for address in (page.url, f"{instance.url}/i/{image_id}{link}"):
            page.goto("about:blank")
            page.goto(address)
            expect(page.locator(".row.marked .text")).to_have_text(text)


@pytest.mark.parametrize(
    ("steps", "marked"),
    [
        (MAKE, "a.c:3:5: error: expected ';'"),
        ((*MAKE[:3], "stderr make: *** [a.o] Error 2"), "make: *** [a.o] Error 2"),
        (
            (
                *("stderr error: handled", "repeat 40 of it"),
                *("stderr Traceback (most recent call last):", 'raw   File "a.py", line 1\\x0a'),
                "stderr ValueError: bad",
            ),
            "Traceback (most recent call last):",
        ),
        (("echo warning: no error here", "repeat 40 of it", "stderr giving up"), "giving up"),
    ],
    ids=["compiler", "make", "traceback", "last line"],
)
def test_the_error_mark_is_on_the_cause_at_the_end_of_the_failed_step(
    client: httpx.Client, instance: Instance, page: Page, steps: tuple[str, ...], marked: str
) -> None:
    image_id = order(client, " ;; ".join((*steps, "exit 2")))
    assert settled(client, image_id) == "failed"
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator(".row.error .text")).to_have_text(marked)
    expect(page.locator(".row.error .text")).to_be_in_viewport()
    expect(page.locator(".row.error")).to_contain_text("First error:")


def test_single_keys_can_be_switched_off_and_stay_off(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    image_id = order(client, "echo a")
    settled(client, image_id)
    page.goto(f"{instance.url}/i/{image_id}")
    page.keyboard.press("?")
    page.uncheck("#shortcuts")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    expect(page.locator("#keys")).to_be_focused()
    for _ in range(2):
        page.focus("#scroller")
        page.keyboard.press("w")
        page.keyboard.press("?")
        expect(page.locator("#wrap")).to_have_attribute("aria-pressed", "false")
        expect(page.locator("#help")).to_be_hidden()
        page.reload()
        expect(page.locator("#rows")).to_contain_text("a")
    page.click("#keys")
    page.check("#shortcuts")
    page.focus("#scroller")
    page.keyboard.press("w")
    expect(page.locator("#wrap")).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_256_and_true_colours_are_shown_and_can_be_read(
    client: httpx.Client, instance: Instance, opened: Open, scheme: str
) -> None:
    cube = " ".join(f"\\x1b[38;5;{n}mi{n}\\x1b[0m" for n in range(16, 256))
    pairs = " ".join(
        f"\\x1b[{front};{back}mp{front}/{back}\\x1b[0m"
        for front in (31, 33, 34, 97)
        for back in (40, 41, 44, 47, 103, "48;5;208", "48;2;10;200;90")
    )
    true = (
        "\\x1b[38;2;250;120;10morange\\x1b[0m \\x1b[38:2::250:120:10mcolons\\x1b[0m "
        "\\x1b[48;2;255;128;0mon orange\\x1b[0m \\x1b[7;38;5;33minverse\\x1b[0m"
    )
    image_id = order(client, *(f"raw {each}\\n" for each in (cube, pairs, true)))
    settled(client, image_id)
    with opened(color_scheme=scheme) as page:
        page.goto(f"{instance.url}/i/{image_id}")
        expect(page.locator("#rows")).to_contain_text("on orange")
        spans = page.locator("#rows .text span")
        assert spans.count() == 240 + 28 + 4
        assert (
            len(
                {
                    each.evaluate("each => getComputedStyle(each).color")
                    for each in spans.all()[:240:7]
                }
            )
            > 25
        )
        for each in spans.all():
            assert each.evaluate(CONTRAST) >= 4.5, each.inner_text()
        orange, colons = (
            page.locator("span", has_text=re.compile(f"^{t}$")) for t in ("orange", "colons")
        )
        assert orange.evaluate("e => getComputedStyle(e).color") == colons.evaluate(
            "e => getComputedStyle(e).color"
        )
        ground = page.locator("span", has_text=re.compile("^on orange$"))
        assert ground.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 128, 0)"
