"""A log of a million lines: any of them at once, and few of them in the document."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.instance import Instance
from tests.long_log import stored

LINES = 1_000_000


@pytest.fixture(scope="module")
def image_id(instance: Instance) -> str:
    return stored(instance, LINES)


def shown(page: Page) -> list[int]:
    """The numbers of the lines in the document, in order; all loaded and saying what they are."""
    expect(page.locator("#rows .coming")).to_have_count(0)
    expect(page.locator("#rows .row").first).to_be_visible()
    rows = page.eval_on_selector_all(
        "#rows .row",
        "rows => rows.map((row) => [+row.dataset.line, row.querySelector('.text').textContent])",
    )
    assert len(rows) <= 200
    assert all(text.startswith(f"line {number} of") for number, text in rows if number <= LINES)
    return [number for number, _ in rows]


@pytest.mark.long
def test_a_link_to_line_700_000_shows_it(instance: Instance, page: Page, image_id: str) -> None:
    page.goto(f"{instance.url}/i/{image_id}#L700000")
    line = page.locator('.row[data-line="700000"].marked')
    expect(line).to_be_in_viewport()
    numbers = shown(page)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.long
def test_one_gets_everywhere_and_no_line_is_skipped_on_the_way(
    instance: Instance, page: Page, image_id: str
) -> None:
    page.goto(f"{instance.url}/i/{image_id}")
    assert shown(page)[0] == 1
    page.keyboard.press("G")
    expect(page.locator("#rows")).to_contain_text("line 1000000 of")
    page.keyboard.press("g")
    expect(page.locator('.row[data-line="1"]')).to_be_in_viewport()
    page.hover("#scroller")
    top = 1
    for _ in range(60):
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(20)
        numbers = shown(page)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert 0 <= numbers[0] - top <= 60
        top = numbers[0]
    assert top > 900
    page.evaluate("document.getElementById('scroller').scrollTop = 4_000_000")
    page.wait_for_timeout(400)
    assert 480_000 < shown(page)[0] < 520_000


@pytest.mark.long
def test_folded_steps_of_a_long_log_take_a_row_each(
    instance: Instance, page: Page, image_id: str
) -> None:
    page.goto(f"{instance.url}/i/{image_id}")
    shown(page)
    page.click("#fold")
    expect(page.locator("#rows .row")).to_have_count(20)
    page.get_by_role("button", name="Step 10", exact=True).click()
    page.keyboard.press("G")
    expect(page.get_by_role("button", name="Step 20", exact=True)).to_be_visible()
    page.fill("#q", "line 650000 of")
    expect(page.locator("#hits")).to_have_text("1 of 1")
    expect(page.locator(".row.hit")).to_have_text(re.compile("line 650000 of"))
