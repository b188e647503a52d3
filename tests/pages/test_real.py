"""The pages before a build by the real engine."""

from collections.abc import Iterator
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, expect

from tests.instance import Instance, send
from tests.pages.conftest import check_whole

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

DOCKERFILE = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN for n in $(seq 1500); do echo "$n of many"; [ $((n % 300)) = 0 ] && sleep 0.5; done; true
RUN echo last
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("real") / "data", engine="buildah") as running:
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
