"""The pages before a build by the real engine."""

from collections.abc import Iterator
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, expect

from tests.instance import Instance, send
from tests.pages.conftest import PASSWORD, check_whole, settled, sign_in
from tests.registry import tags_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

DOCKERFILE = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN for n in $(seq 1500); do echo "$n of many"; [ $((n % 300)) = 0 ] && sleep 0.5; done; true
RUN echo last
"""
BUSYBOX = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
"""
FAILING = f"{BUSYBOX}RUN for n in $(seq 20); do echo tick $n; sleep 0.2; done; no-such-command\n"
ENDLESS = f"{BUSYBOX}RUN echo begun; sleep 600\n"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("real") / "data", engine="buildkit") as running:
        yield running


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("context") / "context.zip"
    with ZipFile(path, "w") as archive:
        archive.write("/bin/busybox", "busybox")
    return path.read_bytes()


def test_a_viewer_opened_before_during_and_after_a_real_build_has_its_archive(
    real: Instance, browser: Browser, context: bytes
) -> None:
    with real.client() as client, browser.new_context() as tab:
        image_id = str(send(client, DOCKERFILE, context, public="true")["image_id"])
        address = f"{real.url}/i/{image_id}"
        before, during, after = tab.new_page(), tab.new_page(), tab.new_page()
        before.goto(address)
        expect(before.locator("#rows")).to_contain_text("of many", timeout=60_000)
        during.goto(address)
        done = {"name": "data-word", "value": "succeeded"}
        expect(before.locator("#head")).to_have_attribute(**done, timeout=90_000)
        after.goto(address)
        for page in (before, during, after):
            expect(page.locator("#head")).to_have_attribute(**done, timeout=30_000)
            page.bring_to_front()
            assert len(check_whole(page, client, image_id)) > 1_500
        expect(after.get_by_role("button", name="Step 5", exact=True)).to_be_attached()


def test_an_operator_puts_right_what_went_wrong(
    real: Instance, browser: Browser, context: bytes
) -> None:
    real.manage(
        *("shell", "-v", "0", "-c"),
        "from accounts.models import User; from accounts.rights import make_operator; "
        f"make_operator(User.objects.create_user('keeper', '{PASSWORD}'))",
    )
    with real.client() as client, browser.new_context() as tab:
        bad = str(send(client, FAILING, context, name="ticking")["image_id"])
        pushed = [
            str(send(client, BUSYBOX, context, name=f"pushed-{number}")["image_id"])
            for number in range(2)
        ]
        assert settled(client, bad) == "failed"
        page = tab.new_page()
        sign_in(page, real.url, "keeper", PASSWORD)

        # Three clicks from the front page to the failing step, and then live.
        page.goto(f"{real.url}/admin/")
        page.locator("#content").get_by_role("link", name="Builds", exact=True).last.click()
        page.locator("#changelist-filter").get_by_role("link", name="Failed").click()
        page.locator("#result_list tbody th a").first.click()
        expect(page.locator("#head")).to_have_attribute("data-word", "failed")
        expect(page.locator(".row.error")).to_contain_text("no-such-command: not found")
        page.get_by_role("link", name="Retry").click()
        page.locator("#content input[type=submit]").click()
        expect(page.locator(".messagelist")).to_contain_text("Asked for attempt 2.")
        expect(page.locator("#rows")).to_contain_text("tick 2", timeout=60_000)
        expect(page.locator("#head")).to_have_attribute("data-word", "building")
        expect(page.locator("#head")).to_have_attribute("data-word", "failed", timeout=60_000)
        expect(page.locator(".row.error")).to_contain_text("no-such-command: not found")

        # Another that would run for long.
        endless = str(send(client, ENDLESS, context, name="endless")["image_id"])
        page.goto(f"{real.url}/admin/builds/build/queue/")
        running = page.locator("tr", has_text="admin/endless:1 #1")
        expect(running).to_contain_text("Cancel", timeout=30_000)
        running.get_by_role("link", name="Cancel").press("Enter")
        page.locator("#content input[type=submit]").click()
        assert settled(client, endless) == "cancelled"

        # A page of images, and their tags with them.
        assert [settled(client, image_id) for image_id in pushed] == ["succeeded"] * 2
        registry = real.registry_as_worker()
        names = [f"admin/pushed-{number}" for number in range(2)]
        assert all(registry.digest_of(name, "1") for name in names)
        page.goto(f"{real.url}/admin/images/image/?q=pushed-")
        page.check("#action-toggle")
        page.select_option("[name=action]", "delete_selected")
        page.click("[name=index]")
        expect(page.locator(".consequences")).to_contain_text("2 tags in the registry")
        address = page.url
        page.locator("#content input[type=submit]").click()
        expect(page.locator(".messagelist")).to_contain_text("2 images deleted")
        page.goto(address)
        expect(page.locator("#bulk")).to_contain_text("Nothing of them is left", timeout=30_000)
        assert [tags_of(registry, name) for name in names] == [[], []]
