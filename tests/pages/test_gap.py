"""A log that was too long: what was left out is one line, and no reader waits for the rest."""

from playwright.sync_api import Page, expect

from tests.instance import Instance
from tests.long_log import stored


def test_lines_that_were_left_out_take_one_row(instance: Instance, page: Page) -> None:
    image_id = stored(instance, 8_000, name="too-long", gap=(2_000, 4_000))
    page.goto(f"{instance.url}/i/{image_id}#L2000")
    expect(page.locator('.row[data-line="2001"]')).to_contain_text("2000 lines left out")
    expect(page.locator('.row[data-line="2001"] + .row')).to_contain_text("line 4001 of")
    page.keyboard.press("G")
    expect(page.locator("#rows")).to_contain_text("line 8000 of")
    page.goto(f"{instance.url}/i/{image_id}#L3500")
    expect(page.locator("#rows")).to_contain_text("2000 lines left out")
    expect(page.locator("#rows .coming")).to_have_count(0)
