"""A new image without a command line: files are packed in the browser, sent, built, mended."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.instance import Instance
from tests.pages.conftest import Open

LONG = f"{'deep/' * 30}näme.txt"
DROP = """
async ([files]) => {
  const transfer = new DataTransfer();
  for (const [name, text] of files) transfer.items.add(new File([text], name));
  const drop = document.getElementById("drop");
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  drop.dispatchEvent(new DragEvent("drop", options));
}
"""
PACK = """
async ([files]) => {
  const { pack } = await import("./TAR");
  const named = files.map(([path, text]) => [path, new File([text], path, { lastModified: 5000 })]);
  const packed = await pack(new Map(named));
  return [packed.name, [...new Uint8Array(await packed.arrayBuffer())]];
}
"""


@pytest.fixture
def form(instance: Instance, opened: Open) -> Iterator[Page]:
    with opened() as page:
        page.goto(f"{instance.url}/new")
        yield page


def test_files_are_packed_as_tar_reads_them(form: Page) -> None:
    tar = form.evaluate("new URL(document.querySelector('script[src*=send]').src).pathname")
    tar = tar.rpartition("/")[0]
    modules = form.evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
    (address,) = [each for each in modules if "/send/tar" in each]
    assert tar in address
    files = [["b.txt", "b" * 700], [LONG, "ü"], ["empty", ""]]
    name, data = form.evaluate(PACK.replace("./TAR", address), [files])
    assert name == "context.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as archive:
        found = {each.name: cast(IO[bytes], archive.extractfile(each)).read() for each in archive}
        assert {each.mode for each in archive} == {0o755}
        assert {each.mtime for each in archive} == {5}
    assert found == {"b.txt": b"b" * 700, LONG: "ü".encode(), "empty": b""}


def test_dropped_files_are_built_and_a_failed_build_is_mended(
    client: httpx.Client, instance: Instance, form: Page
) -> None:
    form.fill("#name", "from/browser")
    form.evaluate(DROP, [[["Dockerfile", "FROM scratch\nRUN scripted: exit 3\n"], ["a.txt", "a"]]])
    expect(form.locator("#files li")).to_have_count(2)
    expect(form.locator("#total")).to_contain_text("2 files")
    expect(form.locator("#dockerfile")).to_have_value("FROM scratch\nRUN scripted: exit 3\n")
    form.get_by_role("button", name="Build").click()
    form.wait_for_url("**/i/*")
    expect(form.locator(".reason").first).to_contain_text("exit code 3", timeout=20_000)
    form.get_by_role("link", name="Change and build").click()
    expect(form.locator("#keep")).to_be_checked()
    form.fill("#dockerfile", "FROM scratch\nRUN scripted: echo mended\n")
    form.get_by_role("button", name="Build").click()
    form.wait_for_url("**/i/*")
    expect(form.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=20_000)
    assert client.get("/images/from/browser:1.0").json()["status"] == "built and pushed"


def test_what_is_wrong_is_said_beside_its_field_and_files_stay_chosen(form: Page) -> None:
    form.evaluate(DROP, [[["a.txt", "a"]]])
    form.fill("#name", "no!")
    form.get_by_role("button", name="Build").click()
    expect(form.locator("#problem-name")).to_contain_text("takes letters and digits")
    expect(form.locator("#name")).to_be_focused()
    expect(form.locator("#files li")).to_have_count(1)
    form.get_by_role("button", name="Remove a.txt").click()
    expect(form.locator("#files li")).to_have_count(0)


def test_the_form_works_without_scripts(
    instance: Instance, opened: Open, public_path: Path
) -> None:
    archive = public_path / "context.tar"
    with tarfile.open(archive, "w"):
        pass
    with opened(java_script_enabled=False) as page:
        page.goto(f"{instance.url}/new")
        page.fill("#name", "plain")
        page.fill("#dockerfile", "FROM scratch\nRUN scripted: echo hello\n")
        page.set_input_files("[name=context]", archive)
        page.get_by_role("button", name="Build").click()
        page.wait_for_url("**/i/*")
        expect(page.locator("h1")).to_have_text("admin/plain:1.0")


def test_a_key_is_made_copied_and_revoked(instance: Instance, opened: Open) -> None:
    with opened("alice", permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(f"{instance.url}/account")
        page.fill("[name=label]", "browser")
        page.get_by_role("button", name="Make a key").click()
        page.locator(".made [data-copy-of]").click()
        key = page.evaluate("navigator.clipboard.readText()")
        with instance.client(key) as client:
            assert client.get("/images/").status_code == 200
            page.get_by_role("button", name="Revoke browser").click()
            expect(page.locator(".messages")).to_contain_text("is revoked")
            assert client.get("/images/").status_code == 401
