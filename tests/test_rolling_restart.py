"""Web processes restarted one after the other behind nginx as documented: nothing is lost."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.cluster import Cluster, own_servers
from tests.conftest import script, zipped
from tests.instance import ROOT, post
from tests.with_servers import answers, free_port

pytestmark = [pytest.mark.servers, pytest.mark.long, pytest.mark.timeout(600)]
DOCUMENTED = ROOT / "deploy/nginx/slipway.conf"
READERS, WRITERS = 6, 2


@contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[str]:
    """With the documented settings, but for TLS; its address."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "apt-get install nginx-light"
    port = free_port()
    text = DOCUMENTED.read_text()
    for number, each in enumerate(ports, start=1):
        text = text.replace(f"web-{number}.example:8000", f"127.0.0.1:{each}")
    text = re.sub(r"listen 443 ssl;", f"listen 127.0.0.1:{port};", text)
    text = re.sub(r".*(ssl_certificate|server_name).*\n", "", text)
    folder.mkdir()
    (folder / "slipway.conf").write_text(text)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi")
    )
    temporary += f"uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;"
    whole = f"pid {folder}/pid; error_log {folder}/errors; daemon off; "
    whole += f"events {{}} http {{ access_log off; {temporary} include slipway.conf; }}"
    (folder / "nginx.conf").write_text(whole)
    process = subprocess.Popen([program, "-c", str(folder / "nginx.conf")])
    try:
        until = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None, (folder / "errors").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


class Load:
    """Clients that ask until they are told to stop, and what they were answered."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.done = threading.Event()
        self.statuses: Counter[str] = Counter()
        self._lock = threading.Lock()
        jobs = [self.read] * READERS + [self.write] * WRITERS
        self.threads = [threading.Thread(target=job, args=[n]) for n, job in enumerate(jobs)]

    def __enter__(self) -> Self:
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for each in self.threads:
            each.join(60)

    def client(self) -> httpx.Client:
        headers = {"Authorization": self.key}
        return httpx.Client(
            base_url=self.url, headers=headers, trust_env=False, timeout=60, verify=False
        )

    def read(self, number: int) -> None:
        with self.client() as client:
            while not self.done.is_set():
                self.count("GET", lambda: client.get("/images/").status_code)

    def write(self, number: int) -> None:
        context, sent = zipped(a_txt="a" * 20_000), 0
        with self.client() as client:
            while not self.done.is_set():
                sent += 1
                name = f"rolling-{number}-{sent}"
                self.count("POST", partial(self.send, client, name, context))

    def send(self, client: httpx.Client, name: str, context: bytes) -> int:
        sent = post(client, script("echo x"), context, username="rolling", name=name)
        return sent.status_code

    def count(self, method: str, ask: Callable[[], int]) -> None:
        try:
            status = str(ask())
        except httpx.HTTPError as problem:
            status = type(problem).__name__
        with self._lock:
            self.statuses[f"{method} {status}"] += 1


def test_no_request_is_lost_while_web_processes_are_restarted(
    registry: str, tmp_path: Path
) -> None:
    environment = {
        **own_servers(queue=4),
        "SLIPWAY_DAILY_BUILDS": "1000000",
        "SLIPWAY_STOP_DELAY": "7",
        "SLIPWAY_GRACE": "30",
    }
    one = Cluster(tmp_path / "data", registry, **environment)
    other = Cluster(tmp_path / "data", registry, **environment)
    with one:
        one.manage("create_user", "rolling")
        key = one.manage("create_api_key", "rolling").strip()
        other.serve()
        other.answers()
        try:
            with nginx(tmp_path / "nginx", [one.port, other.port]) as url, Load(url, key) as load:
                for _ in range(2):
                    for web in (one, other):
                        web.stop(signal.SIGTERM)
                        web.serve()
                        web.answers()
        finally:
            other.stop()
    assert set(load.statuses) == {"GET 200", "POST 202"}, load.statuses
    assert load.statuses["GET 200"] > 100
