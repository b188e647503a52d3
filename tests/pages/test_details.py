"""The tabs of an image's page in a browser: they keep up, and they share and tell."""

import re
from pathlib import Path

import httpx
from playwright.sync_api import expect

from tests.instance import Instance
from tests.pages.conftest import Open, order, settled


def test_the_steps_keep_up_with_the_build_and_the_title_and_icon_tell_its_state(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    image_id = order(client, "echo one", f"until {gate}", "stderr error: no ;; exit 3")
    with opened() as page:
        page.goto(f"{instance.url}/i/{image_id}?tab=steps")
        running = page.locator("tr.running", has_text="until")
        expect(running.locator(".took")).to_contain_text("running, 0:0")
        expect(running.locator("rect")).to_have_count(1)
        expect(page.locator("#icon")).to_have_attribute("href", re.compile("building"))
        expect(page).to_have_title(re.compile(r"^3/4 .* · building"))
        expect(page.locator("tr.waiting .took")).to_have_text("waits")
        gate.touch()
        expect(page.locator("tr.failed .took")).to_contain_text("failed, ", timeout=20_000)
        expect(page.locator("#head")).to_have_attribute("data-word", "failed")
        expect(page.locator("#icon")).to_have_attribute("href", re.compile("failed"))
        expect(page).to_have_title(re.compile(r"· failed · Slipway$"))
        page.locator("tr.failed .number a").click()
        expect(page.locator(".row.marked .text")).to_contain_text("STEP 4/4: RUN")


def test_attempts_lead_to_their_logs_and_steps(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(client, "echo one")
    settled(client, image_id)
    client.post(f"/images/{image_id}/rebuild")
    settled(client, image_id)
    with opened() as page:
        page.goto(f"{instance.url}/i/{image_id}")
        page.get_by_role("link", name="Attempts").click()
        listed = page.locator(".listing tbody tr")
        expect(listed).to_have_count(2)
        expect(listed.first.locator("th a")).to_have_text("2")
        page.get_by_role("link", name="Attempt", exact=True).click()
        expect(listed.first.locator("th a")).to_have_text("1")
        listed.first.locator("th a").click()
        expect(page.locator("#head")).to_have_attribute("data-attempt", "1")
        page.get_by_role("link", name="Dockerfile").click()
        expect(page.locator(".dockerfile .line")).to_have_count(2)
        expect(page).to_have_url(re.compile("attempt=1"))


def test_the_link_to_share_names_the_attempt_and_the_marked_lines(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(client, "echo one")
    settled(client, image_id)
    with opened(permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(f"{instance.url}/i/{image_id}")
        page.locator("#rows .number").nth(2).click()
        page.click("#share")
        expect(page.locator("#share")).to_have_text("Link copied")
        link = page.evaluate("navigator.clipboard.readText()")
        assert link == f"{instance.url}/i/{image_id}?attempt=1#L3"


def test_the_end_of_a_build_is_notified_where_that_was_asked_for(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    image_id = order(client, f"until {gate}", name="told")
    with opened(permissions=["notifications"]) as page:
        page.add_init_script(
            "window.told = []; window.Notification = class { "
            "static permission = 'granted'; static requestPermission = async () => 'granted'; "
            "constructor(text) { told.push(text); } close() {} };"
        )
        page.goto(f"{instance.url}/i/{image_id}")
        notify = page.locator("#notify")
        notify.click()
        expect(notify).to_have_attribute("aria-pressed", "true")
        gate.touch()
        expect(page.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=20_000)
        page.wait_for_function("told.length === 1")
        assert page.evaluate("told") == ["admin/told:1 succeeded"]


def test_the_heading_of_a_step_stays_on_top_of_its_lines(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(client, "repeat 200 of noise", "echo end")
    settled(client, image_id)
    with opened(viewport={"width": 1000, "height": 600}) as page:
        page.goto(f"{instance.url}/i/{image_id}")
        sticky = page.locator(".sticky")
        expect(page.locator("#rows")).to_contain_text("5 of noise")
        expect(sticky).to_be_hidden()
        page.locator("#scroller").evaluate("frame => (frame.scrollTop = 1200)")
        expect(sticky.locator(".text")).to_contain_text("STEP 2/3: RUN scripted: repeat")
        top = page.locator("#scroller").bounding_box()
        box = sticky.locator(".row").bounding_box()
        assert top
        assert box
        assert abs(box["y"] - top["y"]) <= 1
        sticky.locator(".row").click()
        expect(sticky).to_be_hidden()
        expect(page.locator("#rows .heading", has_text="STEP 2/3")).to_be_in_viewport()
