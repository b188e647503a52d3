"""An operator who is no superuser turns the switches of the system page in a browser."""

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.instance import Instance
from tests.pages.conftest import PASSWORD, order, settled

MAKE = f"""
from accounts.models import User
from django.contrib.auth.models import Group
olga = User.objects.create_user("olga", {PASSWORD!r}, is_staff=True)
olga.groups.set([Group.objects.get(name="operator")])
ned = User.objects.create_user("ned", {PASSWORD!r}, is_staff=True)
ned.groups.clear()
"""


@pytest.fixture(scope="module", autouse=True)
def people(instance: Instance) -> None:
    instance.manage("shell", "-v", "0", "-c", MAKE)


def enter(page: Page, instance: Instance, name: str) -> None:
    page.goto(f"{instance.url}/admin/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")


def status(client: httpx.Client, image_id: str) -> str:
    return str(client.get(f"/images/{image_id}").json()["build"]["status"])


def test_an_operator_pauses_and_resumes_the_queue_and_drains_a_worker(
    client: httpx.Client, instance: Instance, browser: Browser
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        enter(page, instance, "olga")
        page.get_by_role("link", name="System", exact=True).first.click()
        word = page.locator("section", has=page.locator("#queue")).locator(".word")
        expect(word).to_have_text("open")
        page.get_by_role("link", name="Pause the queue").click()
        expect(page.locator("#content")).to_contain_text("No worker takes another build")
        page.get_by_role("button", name="Pause the queue").click()
        expect(word).to_have_text("paused")
        waiting = order(client, "echo hello")
        # The page says so by itself.
        expect(page.locator("#live")).to_contain_text("1 waiting", timeout=15_000)
        assert status(client, waiting) == "queued"
        page.get_by_role("link", name="Resume the queue").click()
        page.get_by_role("button", name="Resume the queue").click()
        expect(word).to_have_text("open")
        assert settled(client, waiting) == "succeeded"

        page.get_by_role("link", name="Drain", exact=True).click()
        page.get_by_role("button", name="Drain").click()
        # What other tests left running keeps it from being empty.
        expect(page.locator(".word.draining, .word.drained")).to_be_visible()
        waiting = order(client, "echo hello")
        page.reload()
        expect(page.locator("#live")).to_contain_text("1 waiting")
        page.get_by_role("link", name="Undo the drain").click()
        page.get_by_role("button", name="Undo the drain").click()
        assert settled(client, waiting) == "succeeded"
        expect(page.locator("section", has=page.locator("#switched"))).to_contain_text("olga")


def test_somebody_without_the_right_sees_none_of_it(instance: Instance, browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        enter(page, instance, "ned")
        expect(page.locator("#user-tools")).to_be_visible()
        assert page.get_by_role("link", name="System", exact=True).count() == 0
        answer = page.goto(f"{instance.url}/admin/system/")
        assert answer is not None
        assert answer.status == 403
