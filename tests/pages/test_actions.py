"""What an owner does on the page, and the list that keeps up with it."""

from pathlib import Path

import httpx
from playwright.sync_api import expect

from tests.instance import Instance
from tests.pages.conftest import Open, order, settled


def test_the_owner_cancels_rebuilds_and_deletes_on_the_page(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    image_id = order(client, "echo begun", f"until {gate}", public="true")
    with opened() as page:
        page.goto(f"{instance.url}/i/{image_id}")
        expect(page.locator("#rows")).to_contain_text("begun")
        page.get_by_role("button", name="Cancel build").press("Enter")
        expect(page.locator("#head")).to_have_attribute("data-word", "cancelled", timeout=20_000)
        gate.touch()
        page.get_by_role("button", name="Rebuild").press("Enter")
        expect(page.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=20_000)
        expect(page.locator(".attempts a")).to_have_count(2)
        page.locator(".attempts a").first.click()
        expect(page.locator("#head")).to_have_attribute("data-word", "cancelled")
        page.get_by_text("Delete", exact=True).press("Enter")
        expect(page.locator(".confirm form")).to_contain_text("from the registry")
        expect(page.locator(".confirm form")).to_contain_text("2 attempts with their logs")
        page.locator(".confirm .danger").press("Enter")
        expect(page.locator(".messages")).to_contain_text("is deleted")
    assert client.get(f"/images/{image_id}").status_code == 404


def test_a_stranger_sees_no_actions_and_no_private_image(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    shown = order(client, "echo hello", public="true")
    hidden = order(client, "echo hello")
    settled(client, hidden)
    with opened("alice") as page:
        page.goto(f"{instance.url}/i/{shown}")
        expect(page.locator("#head")).to_be_visible()
        assert page.locator("main form:not(#find)").count() == 0
        page.goto(f"{instance.url}/i/{hidden}")
        expect(page.locator("main")).to_contain_text("not yours to see")


def test_the_list_keeps_up_without_moving_the_row_under_the_pointer(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    first = order(client, "echo a", f"until {gate}")
    with opened() as page:
        page.goto(f"{instance.url}/")
        row = page.locator(f'[data-image="{first}"]')
        expect(row).to_contain_text("building", timeout=20_000)
        row.hover()
        before = row.bounding_box()
        second = order(client, "echo b")
        expect(page.locator("#line")).to_have_text("1 new image")
        assert row.bounding_box() == before
        gate.touch()
        expect(row).to_contain_text("succeeded", timeout=20_000)
        assert row.bounding_box() == before
        page.mouse.move(0, 0)
        expect(page.locator(f'[data-image="{second}"]')).to_contain_text(
            "succeeded", timeout=20_000
        )


def test_filters_write_the_address(client: httpx.Client, instance: Instance, opened: Open) -> None:
    image_id = order(client, "echo a", name="wanted-one")
    settled(client, image_id)
    with opened() as page:
        page.goto(f"{instance.url}/")
        page.fill("[name=name]", "wanted")
        page.keyboard.press("Enter")
        page.wait_for_url("**/?name=wanted")
        expect(page.locator(".image")).to_have_count(1)
        page.select_option("[name=status]", "failed")
        page.wait_for_url("**/?name=wanted&status=failed")
        expect(page.locator(".empty")).to_contain_text("No images match")
        page.go_back()
        expect(page.locator(".image")).to_have_count(1)


def test_the_theme_is_switched_and_kept(instance: Instance, opened: Open) -> None:
    with opened() as page:
        page.goto(f"{instance.url}/")
        switch = page.get_by_role("button", name="Theme")
        switch.press("Enter")
        switch.press("Enter")
        expect(switch).to_have_text("Theme: dark")
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"
