"""Images and builds in the admin, in the browser of an operator who is no superuser."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.instance import Instance
from tests.pages.conftest import Open, check_whole, order, settled
from tests.pages.test_axe import AXE, findings

IMAGES, BUILDS = "/admin/images/image/", "/admin/builds/build/"


def newest(client: httpx.Client, image_id: str) -> str:
    """The id of its last build."""
    return str(client.get(f"/images/{image_id}/builds").json()["items"][0]["build_id"])


def confirm(page: Page) -> None:
    page.locator("#content input[type=submit]").press("Enter")


def test_a_private_log_is_watched_live_while_its_build_is_cancelled_and_built_again(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    image_id = order(client, "repeat 700 of begun", f"until {gate}", "repeat 50 of after")
    with opened("keeper") as page:
        page.goto(f"{instance.url}{IMAGES}{image_id}/change/")
        expect(page.locator("#rows")).to_contain_text("699 of begun", timeout=20_000)
        page.get_by_role("link", name="Cancel build").press("Enter")
        expect(page.locator(".consequences")).to_contain_text("1 running build")
        confirm(page)
        expect(page.locator("#head")).to_have_attribute("data-word", "cancelled", timeout=20_000)
        expect(page.locator(".timeline")).to_contain_text("Cancelling was asked for")
        gate.touch()
        page.get_by_role("link", name="Rebuild").press("Enter")
        confirm(page)
        expect(page.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=20_000)
        expect(page.locator(".attempts-table tbody tr")).to_have_count(2)
        assert len(check_whole(page, client, image_id, attempt=2)) > 750
        page.locator(".attempts-table th a").last.click()
        expect(page.locator("#head")).to_have_attribute("data-word", "cancelled")
        check_whole(page, client, image_id)
        page.get_by_role("link", name="History").press("Enter")
        expect(page.locator("#change-history")).to_contain_text("Asked for attempt 2.")
        expect(page.locator("#change-history")).to_contain_text("keeper")


def test_a_long_bulk_action_shows_how_far_it_is_and_ends_in_the_list(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    name = f"many-{uuid4().hex[:6]}"
    ids = [order(client, "echo a", name=f"{name}-{number}") for number in range(4)]
    for image_id in ids:
        settled(client, image_id)
    with opened("keeper") as page:
        page.goto(f"{instance.url}{IMAGES}?q={name}")
        expect(page.locator("#result_list tbody tr")).to_have_count(4)
        page.check("#action-toggle")
        page.select_option("[name=action]", "delete_selected")
        page.click("[name=index]")
        expect(page.locator(".consequences")).to_contain_text("4 tags in the registry")
        expect(page.locator(".meant")).to_contain_text(f"admin/{name}-3:1")
        address = page.url
        confirm(page)
        expect(page.locator(".messagelist")).to_contain_text("4 images deleted")
        expect(page.locator("#result_list")).to_have_count(0)
        page.goto(address)
        expect(page.locator("#bulk")).to_contain_text(
            "Nothing of them is left in registry and storage", timeout=20_000
        )
    assert {client.get(f"/images/{image_id}").status_code for image_id in ids} == {404}


def test_owners_are_suggested_while_one_types(instance: Instance, opened: Open) -> None:
    with opened("keeper") as page:
        page.goto(f"{instance.url}{IMAGES}")
        page.locator("[name=owner]").press_sequentially("ali")
        expect(page.locator("datalist option")).to_have_count(1)
        expect(page.locator("datalist option")).to_have_attribute("value", "alice")
        page.locator("[name=owner]").fill("alice")
        page.locator("[name=owner]").press("Enter")
        page.wait_for_url("**owner=alice*")


def test_the_queue_shows_what_waits_and_moves_it_to_the_front(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    first = order(client, f"until {gate}")
    second = order(client, f"until {gate}")
    names = [f"waits-{uuid4().hex[:6]}" for _ in range(2)]
    waiting = [order(client, "echo a", name=name) for name in names]
    try:
        with opened("keeper") as page:
            page.goto(f"{instance.url}{BUILDS}queue/")
            rows = page.locator(".module", has_text="Waiting:").locator("tbody tr")
            last = rows.filter(has_text=names[1])
            expect(last).to_be_visible(timeout=20_000)
            last.get_by_role("link", name="Move to the front").press("Enter")
            confirm(page)
            expect(page.locator(".why")).to_contain_text("Next in the queue")
            expect(page.locator(".why")).to_contain_text("build slots are busy")
            page.goto(f"{instance.url}{BUILDS}queue/")
            expect(rows.first).to_contain_text(names[1])
            expect(rows.first).to_contain_text("moved to the front")
    finally:
        gate.touch()
        for image_id in (first, second, *waiting):
            settled(client, image_id)


def test_who_lacks_the_right_sees_none_of_it(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(client, "echo secret")
    settled(client, image_id)
    build_id = newest(client, image_id)
    with opened("alice") as page:
        for path in (IMAGES, f"{IMAGES}{image_id}/change/", f"{IMAGES}{image_id}/delete/"):
            page.goto(f"{instance.url}{path}")
            expect(page.locator("#login-form")).to_be_visible()
        for path in (
            BUILDS,
            f"{BUILDS}queue/",
            f"{BUILDS}failures/",
            f"{BUILDS}{build_id}/change/",
        ):
            page.goto(f"{instance.url}{path}")
            expect(page.locator("#login-form")).to_be_visible()


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_admin(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path, scheme: str
) -> None:
    assert AXE.is_file(), "run `npm ci --prefix tests/node`"
    gate = public_path / "go"
    bad = order(client, "echo fine", "stderr error: no", "exit 1", readme="Read me")
    good = order(client, "echo fine", public="true")
    settled(client, bad)
    settled(client, good)
    going = order(client, "echo begun", f"until {gate}")
    order(client, f"until {gate}")
    waits = order(client, "echo a")
    builds = {image_id: newest(client, image_id) for image_id in (bad, waits)}
    pages = [
        (IMAGES, "#result_list"),
        (f"{IMAGES}{bad}/change/", ".row.error"),
        (f"{IMAGES}{good}/change/", ".text"),
        (f"{IMAGES}{going}/change/", ".text"),
        (f"{IMAGES}{good}/delete/", ".consequences"),
        (BUILDS, "#result_list"),
        (f"{BUILDS}queue/", ".why"),
        (f"{BUILDS}failures/", "table"),
        (f"{BUILDS}{builds[bad]}/change/", ".row.error"),
        (f"{BUILDS}{builds[waits]}/change/", ".why"),
        (f"{BUILDS}{builds[bad]}/retry/", "form"),
        ("/admin/admin/logentry/", "#changelist"),
    ]
    try:
        for path, there in pages:
            with opened("keeper", color_scheme=scheme) as page:
                page.goto(f"{instance.url}{path}")
                expect(page.locator(there).first).to_be_visible(timeout=20_000)
                assert findings(page, preload=False) == [], path
        with opened("keeper", color_scheme=scheme) as page:
            page.goto(f"{instance.url}{IMAGES}?q={bad}")
            page.check("#action-toggle")
            page.select_option("[name=action]", "hide")
            page.click("[name=index]")
            expect(page.locator(".meant")).to_be_visible()
            assert findings(page, preload=False) == []
            address = page.url
            confirm(page)
            page.goto(address)
            expect(page.locator("#bulk")).to_contain_text("1 of 1 image")
            assert findings(page, preload=False) == []
    finally:
        gate.touch()
