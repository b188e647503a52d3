"""Clients of server-sent events that know nothing of Slipway, over connections that are cut.

Each has to end by itself, with every line once and in order.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from httpx_sse import connect_sse
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import script, zipped
from tests.cutter import Cutter
from tests.instance import ROOT, Instance, send

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-sync"),
]
# Within the headers, within the first events, within a burst; and a stretch of the live log.
CUTS = [20, 700, 6_000, 2_500]
TRICKY = [
    "echo     indented",
    "echo DONE",
    'echo data: {"log": "not a line"}',
    "echo",
    "raw caf\\xe9 is no UTF-8, \\x1b[1mbold\\x1b[0m stays\\n",
    "echo → ü 漢字 🙂",
    "long 20000 long ",
]
FOLLOW = """
(url) => new Promise((resolve) => {
  const got = { lines: [], opened: 0, status: null };
  const source = new EventSource(url);
  source.onopen = () => got.opened++;
  source.onmessage = (event) => got.lines.push(JSON.parse(event.data).log.log);
  source.addEventListener("done", (event) => { got.status = JSON.parse(event.data); });
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) resolve(got); };
})
"""


@dataclass
class Got:
    """What a client had when it stopped by itself; `opened` counts its connections."""

    lines: list[str] = field(default_factory=list)
    status: str | None = None
    opened: int = 0


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    running = Instance(tmp_path_factory.mktemp("sse") / "data", engine="scripted")
    with running:
        yield running


@pytest.fixture
def client(instance: Instance) -> Iterator[httpx.Client]:
    with instance.client() as client:
        yield client


@pytest.fixture
def line(instance: Instance) -> Iterator[Cutter]:
    with Cutter(instance.port, CUTS) as cutter:
        yield cutter
        assert not cutter.cuts, "the client did not come back often enough"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def start(client: httpx.Client, *, public: bool = False, seconds: float = 3.0) -> str:
    """A build that talks for a while; the path of its log."""
    talk = [step for n in range(10) for step in (f"repeat 30 of {n}", f"sleep {seconds / 10}")]
    name = f"app-{uuid4().hex[:8]}"
    dockerfile = script(" ;; ".join(TRICKY), *talk)
    image = send(client, dockerfile, zipped(), name=name, public=str(public))
    return f"/images/{image['image_id']}/logs"


def check(client: httpx.Client, path: str, got: Got) -> None:
    """It has what the archive has from the first attempt on, and the image's status."""
    archive = client.get(path, params={"offset": "1:0"})
    assert archive.headers["Content-Type"].startswith("text/plain")
    assert archive.text.count("\n") > 300
    assert "    indented\nDONE\ndata: {" in archive.text
    assert got.lines == archive.text.split("\n")[:-1]
    assert got.status == client.get(path.removesuffix("/logs")).json()["status"]


def restart_soon(instance: Instance) -> threading.Thread:
    def restart() -> None:
        time.sleep(1.5)
        instance.stop()
        instance.start()

    thread = threading.Thread(target=restart)
    thread.start()
    return thread


def follow_with_httpx_sse(client: httpx.Client, url: str) -> Got:
    """As its documentation says: it does not reconnect by itself."""
    got, last, wait = Got(), "", 0.2
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            with connect_sse(client, "GET", url, headers=headers) as source:
                if source.response.status_code == 204:
                    return got
                got.opened += 1
                for event in source.iter_sse():
                    last = event.id or last
                    if event.event == "done":
                        got.status = json.loads(event.data)
                    elif event.data:  # it also tells of retry and comments, as of empty events
                        got.lines.append(json.loads(event.data)["log"]["log"])
        except httpx.TransportError:
            pass
        time.sleep(wait)


def follow_with_curl(url: str, key: str) -> Got:
    """`curl -N`, started again from the last offset whenever it was cut off."""
    got, offset = Got(), ""
    while True:
        done = subprocess.run(
            [
                *("curl", "-sN", "--noproxy", "*", "--max-time", "60"),
                *("-H", "Accept: text/event-stream", "-H", f"Authorization: {key}"),
                f"{url}{offset}",
            ],
            stdout=subprocess.PIPE,
            check=False,
        )
        got.opened += 1
        *events, rest = done.stdout.decode(errors="replace").split("\n\n")
        for event in events:
            if '"log":{' in event:
                data = json.loads(event.partition("data: ")[2])
                got.lines.append(data["log"]["log"])
                offset = f"?offset={data['offset']}"
            elif "event: done" in event:
                got.status = json.loads(event.partition("data: ")[2])
        if events[-1:] == ["DONE"]:
            assert (done.returncode, rest) == (0, "")
            return got
        assert done.returncode != 0, "an answer that was cut off looks whole"
        time.sleep(0.2)


def test_httpx_sse_gets_every_line_once(
    instance: Instance, client: httpx.Client, line: Cutter
) -> None:
    path = start(client)
    got = follow_with_httpx_sse(client, f"{line.url}{path}")
    check(client, path, got)


def test_httpx_sse_gets_every_line_once_while_the_server_is_restarted(
    instance: Instance, client: httpx.Client, line: Cutter
) -> None:
    path = start(client)
    restarted = restart_soon(instance)
    got = follow_with_httpx_sse(client, f"{line.url}{path}")
    restarted.join()
    check(client, path, got)
    assert sum(line.startswith("interrupted: ") for line in got.lines) == 1


def test_curl_gets_every_line_once(instance: Instance, client: httpx.Client, line: Cutter) -> None:
    path = start(client)
    got = follow_with_curl(f"{line.url}{path}", client.headers["Authorization"])
    check(client, path, got)
    assert got.opened == len(CUTS) + 1


def test_a_browser_gets_every_line_once_and_stops_asking(
    client: httpx.Client, page: Page, line: Cutter
) -> None:
    path = start(client, public=True)
    page.goto(f"{line.url}/healthz")
    got = Got(**page.evaluate(FOLLOW, path))
    check(client, path, got)


def test_a_browser_that_is_logged_in_follows_a_private_log(
    instance: Instance, client: httpx.Client, page: Page
) -> None:
    page.goto(f"{instance.url}/admin/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", (instance.data_dir / "admin.password").read_text().strip())
    page.click("[type=submit]")
    path = start(client, seconds=1)
    got = Got(**page.evaluate(FOLLOW, path))
    check(client, path, got)
    assert got.opened == 1


@pytest.mark.long
def test_a_browser_gets_every_line_once_while_the_server_is_restarted(
    instance: Instance, client: httpx.Client, page: Page, line: Cutter
) -> None:
    path = start(client, public=True)
    page.goto(f"{line.url}/healthz")
    restarted = restart_soon(instance)
    got = Got(**page.evaluate(FOLLOW, path))
    restarted.join()
    check(client, path, got)
    assert sum(line.startswith("interrupted: ") for line in got.lines) == 1


@pytest.mark.long
def test_npms_eventsource_gets_every_line_once_and_stops_asking(
    client: httpx.Client, line: Cutter
) -> None:
    folder = ROOT / "tests" / "node"
    assert Path(folder, "node_modules").is_dir(), f"run `npm ci --prefix {folder}`"
    path = start(client)
    done = subprocess.run(
        ["node", "follow.js", f"{line.url}{path}", client.headers["Authorization"]],
        cwd=folder,
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    check(client, path, Got(**json.loads(done.stdout)))
