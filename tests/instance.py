"""A whole Slipway in a process of its own, as `make up` runs it, for tests and figures."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx

from builds.registry import Registry
from builds.registry.auth import Identity
from builds.registry.tokens import WORKER, Signer
from tests.engine_root import ENGINE_ROOT, VARIABLE
from tests.seed import plant

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 200.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Instance:
    """`manage.py up` in its own data directory and on its own ports."""

    def __init__(self, data_dir: Path, *, engine: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.port, self.registry_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.registry = f"127.0.0.1:{self.registry_port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "SLIPWAY_DATA_DIR": str(data_dir),
            "SLIPWAY_PORT": str(self.port),
            "SLIPWAY_REGISTRY_PORT": str(self.registry_port),
            "SLIPWAY_ENGINE": engine,
            VARIABLE: str(ENGINE_ROOT.path),
            "SLIPWAY_GRACE": "1",
            "SLIPWAY_STOP_DELAY": "0",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, example: bool = False, first: bool = False) -> float:
        """Returns the seconds until it answered.

        `first` starts from nothing; otherwise a data directory that is not there is planted.
        """
        if not first and not self.data_dir.exists() and "DATABASE_URL" not in self.environment:
            plant(self.data_dir, grow=_grow)
        began = time.monotonic()
        self.process = self.run("manage.py", "up", *([] if example else ["--no-example"]))
        self.answers()
        return time.monotonic() - began

    def run(
        self, *command: str, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """A process of this instance, whose output `output` tells."""
        with (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=environment or self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def answers(self) -> None:
        """Returns when it does; raises AssertionError when it ends or takes too long instead."""
        assert self.process is not None
        until = time.monotonic() + START_SECONDS
        with self.client("") as client:
            while self.process.poll() is None and time.monotonic() < until:
                with suppress(httpx.TransportError):
                    if client.get("/healthz").status_code == 200:
                        return
                time.sleep(0.05)
        raise AssertionError(f"it did not start: {self.output()[-2000:]}")

    def output(self) -> str:
        return (self.data_dir.parent / f"{self.data_dir.name}.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self, sign: signal.Signals = signal.SIGINT) -> float:
        """Returns the seconds until it ended."""
        assert self.process is not None
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(sign)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return time.monotonic() - began

    def client(self, key: str | None = None) -> httpx.Client:
        """With the admin's key, another, or none where that is empty."""
        if key is None:
            key = (self.data_dir / "admin.key").read_text().strip()
        headers = {"Authorization": key} if key else {}
        # All is plain HTTP, and reading certificates takes longer than most requests.
        return httpx.Client(
            base_url=self.url, headers=headers, trust_env=False, timeout=60, verify=False
        )

    def signer(self) -> Signer:
        secret = (self.data_dir / "secret_key").read_text().strip()
        return Signer(secret, f"{self.url}/registry/token")

    def registry_as_worker(self) -> Registry:
        """The started registry, with all the rights that only workers have."""
        return Registry(
            self.registry,
            insecure=True,
            identity=Identity(self.signer(), WORKER),
        )

    def manage(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout


def _grow(data_dir: Path) -> None:
    instance = Instance(data_dir, engine="scripted")
    instance.start(first=True)
    instance.stop()


def send(client: httpx.Client, dockerfile: str, context: bytes, **values: str) -> dict[str, Any]:
    """Posts an image for `admin`; returns the 202's body."""
    answer = post(client, dockerfile, context, **values)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def post(client: httpx.Client, dockerfile: str, context: bytes, **values: str) -> httpx.Response:
    form = {
        "wait": "false",
        "username": "admin",
        "name": "app",
        "readme": "",
        "logo_id": "__none__",
        "tag": "1",
        "dockerfile": dockerfile,
        "image": "",
        "public": "false",
        **values,
    }
    files = {"build_context": ("context.zip", context)}
    return client.post("/images/", data=form, files=files)


def events(client: httpx.Client, ref: str, offset: str = "") -> Iterator[dict[str, str]]:
    """Server-sent events as they arrive: fields by name, and `at`, the monotonic second."""
    path = f"/images/{ref}/logs" + (f"?offset={offset}" if offset else "")
    with client.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.status_code == 200, answer.read()
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                if "data" in fields:
                    yield {**fields, "at": str(time.monotonic())}
                fields = {}


def watch(client: httpx.Client, ref: str, offset: str = "") -> tuple[list[str], str]:
    """Every line until the end, and the final status."""
    lines: list[str] = []
    for event in events(client, ref, offset):
        data = json.loads(event["data"])
        if event.get("event") == "done":
            return lines, data
        lines.append(data["log"]["log"])
    raise AssertionError(f"the stream ended without saying so after {lines[-3:]}")
