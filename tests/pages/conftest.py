"""A running Slipway, a browser before it, and how tests look at the pages."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import script, zipped
from tests.instance import Instance, send

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-sync"),
]
PASSWORD = "stranger-than-most"
# Every line that the viewer shows, by scrolling through it as a reader would.
READ = """
async () => {
  const frame = document.getElementById("scroller");
  const rest = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 5)));
  const found = new Map();
  let most = 0;
  while (!document.querySelector("#rows .row")) await rest();
  frame.scrollTop = 0;
  for (let still = 0; still < 3; ) {
    await rest();
    while (document.querySelector("#rows .coming")) await rest();
    const rows = document.querySelectorAll("#rows .row");
    most = Math.max(most, rows.length);
    for (const row of rows) {
      const [line, text] = [Number(row.dataset.line), row.querySelector(".text").textContent];
      if ((found.get(line) ?? text) !== text) throw new Error(`line ${line} changed`);
      found.set(line, text);
    }
    const before = frame.scrollTop;
    frame.scrollTop += frame.clientHeight - 60;
    still = frame.scrollTop === before ? still + 1 : 0;
  }
  return { most, lines: [...found].sort(([one], [other]) => one - other) };
}
"""

Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("pages") / "data", engine="scripted") as running:
        running.manage(
            *("shell", "-v", "0", "-c"),
            "from accounts.models import User; from accounts.rights import make_operator; "
            f"User.objects.create_user('alice', '{PASSWORD}'); "
            f"make_operator(User.objects.create_user('keeper', '{PASSWORD}'))",
        )
        yield running


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder whose files the server sees too, which gives up root."""
    with TemporaryDirectory(prefix="slipway-gates-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def client(instance: Instance) -> Iterator[httpx.Client]:
    with instance.client() as client:
        yield client


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


def sign_in(page: Page, url: str, name: str, password: str) -> None:
    page.goto(f"{url}/sign-in")
    page.fill("[name=username]", name)
    page.fill("[name=password]", password)
    page.click("main button")
    page.wait_for_url(f"{url}/")


@pytest.fixture(scope="package")
def seats(instance: Instance, browser: Browser) -> dict[str, Any]:
    """Cookies by name: who signed in once need not do it for every test."""
    found: dict[str, Any] = {"": None}
    password = (instance.data_dir / "admin.password").read_text().strip()
    for name, secret in (("admin", password), ("alice", PASSWORD), ("keeper", PASSWORD)):
        with browser.new_context() as context:
            sign_in(context.new_page(), instance.url, name, secret)
            found[name] = context.storage_state()
    return found


@pytest.fixture
def opened(browser: Browser, seats: dict[str, Any]) -> Open:
    """A page of somebody's. What the browser complains of fails the test."""

    @contextmanager
    def page(who: str = "admin", **options: Any) -> Iterator[Page]:
        complaints: list[str] = []
        with browser.new_context(storage_state=seats[who], **options) as context:
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "console",
                lambda message: complaints.extend(
                    [f"{page.url}: {message.text}"]
                    if "Content Security Policy" in message.text
                    else []
                ),
            )
            page.on("dialog", lambda dialog: complaints.append(dialog.message))
            yield page
        assert complaints == []

    return page


@pytest.fixture
def page(opened: Open) -> Iterator[Page]:
    with opened() as page:
        yield page


def order(client: httpx.Client, *steps: str, dockerfile: str = "", **values: str) -> str:
    """Sends an image that the scripted engine plays; its id."""
    values = {"name": f"app-{uuid4().hex[:8]}", **values}
    image = send(client, dockerfile or script(*steps), zipped(a_txt="a"), **values)
    return str(image["image_id"])


def settled(client: httpx.Client, image_id: str) -> str:
    """Waits for the end of its build."""
    for _ in range(600):
        found = client.get(f"/images/{image_id}").json()["build"]["status"]
        if found in ("succeeded", "failed", "cancelled"):
            return str(found)
        time.sleep(0.05)
    raise AssertionError("the build does not end")


def digest(lines: list[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def check_whole(page: Page, client: httpx.Client, image_id: str, attempt: int = 1) -> list[str]:
    """The viewer has what the archive has: every line once and in order."""
    # The head may say so before the last lines are there.
    expect(page.locator("#log")).to_have_attribute("data-ended", "yes", timeout=30_000)
    read = page.evaluate(READ)
    assert [number for number, _ in read["lines"]] == list(range(1, len(read["lines"]) + 1))
    assert read["most"] <= 200
    lines = [text for _, text in read["lines"]]
    archive = client.get(f"/images/{image_id}/logs", params={"offset": f"{attempt}:0"})
    assert archive.headers["Content-Type"].startswith("text/plain")
    if digest(lines) != hashlib.sha256(archive.content).hexdigest():
        assert lines == archive.text.split("\n")[:-1]
        raise AssertionError("the bytes differ")
    return lines
