"""Builds that stand still in each phase, and the processes that are killed meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from builds.dockerfile.platforms import this_platform
from tests.builds.engines.base_images import scripted_registry
from tests.builds.engines.base_images.scripted_registry import ScriptedRegistry
from tests.builds.engines.busybox import busybox_layer
from tests.conftest import zipped
from tests.faults.traces import Process, Traces
from tests.instance import Instance, send

WAIT_SECONDS = 40.0
BIG_BYTES = 60_000_000
FILES = 6_000


@dataclass
class SlowRegistry:
    """A registry with one image, busybox, whose layer it holds back while `open` is not set."""

    registry: ScriptedRegistry
    open: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    """Set when the layer was asked for."""

    @property
    def reference(self) -> str:
        return self.registry.reference()

    def environment(self) -> dict[str, str]:
        return {
            "SLIPWAY_INSECURE_REGISTRIES": self.registry.address,
            "SLIPWAY_PRIVATE_REGISTRIES": self.registry.address,
        }


@contextmanager
def slow_registry() -> Iterator[SlowRegistry]:
    with scripted_registry.scripted_registry() as registry:
        layer, diff_id = busybox_layer()
        about = {
            "os": "linux",
            "architecture": this_platform().split("/")[1],
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": scripted_registry.OCI_MANIFEST,
            "config": registry.blob(scripted_registry.OCI_CONFIG, scripted_registry.dump(about)),
            "layers": [registry.blob(scripted_registry.OCI_LAYER, layer)],
        }
        registry.put(scripted_registry.OCI_MANIFEST, manifest, "1")
        slow = SlowRegistry(registry)

        def hold_back(request: BaseHTTPRequestHandler) -> None:
            slow.asked.set()
            slow.open.wait(WAIT_SECONDS)
            scripted_registry.send(request, layer)

        digest = scripted_registry.digest_of(layer)
        registry.handlers[digest] = hold_back
        slow.open.set()
        yield slow
        slow.open.set()


@dataclass
class Stand:
    """One build on its way through an instance."""

    instance: Instance
    client: httpx.Client
    slow: SlowRegistry
    image_id: str = ""

    @property
    def traces(self) -> Traces:
        return Traces(self.instance.data_dir)

    def order(self, dockerfile: str, context: bytes | None = None, **values: str) -> None:
        """ONCE in the Dockerfile misses the cache."""
        unique = uuid4().hex[:8]
        name, dockerfile = f"fault-{unique}", dockerfile.replace("ONCE", f": {unique}")
        made = send(self.client, dockerfile, context or zipped(), name=name, **values)
        self.image_id = made["image_id"]

    def lines(self, attempt: int = 0) -> list[str]:
        found: list[str] = []
        while True:
            parameters = {"attempt": attempt, "from": len(found)}
            page = self.client.get(f"/images/{self.image_id}/logs/lines", params=parameters).json()
            found += [row[1] for row in page["lines"]]
            if len(found) >= page["total"] or not page["lines"]:
                return found

    def attempts(self) -> list[dict[str, Any]]:
        """The oldest first."""
        answer = self.client.get(f"/images/{self.image_id}/builds").raise_for_status()
        found: list[dict[str, Any]] = answer.json()["items"]
        return found[::-1]

    def until(self, condition: Callable[[], object], what: str) -> Any:
        end = time.monotonic() + WAIT_SECONDS
        while not (found := condition()):
            said = f"{self.lines()[-5:]} {self.instance.output()[-2000:]}"
            assert time.monotonic() < end, f"{what}: {said}"
            time.sleep(0.01)
        return found

    def process(self, name: str, word: str = "") -> Process:
        """The process of that name, waited for."""

        def find() -> Process | None:
            found = (
                each for each in self.traces.descendants(self.instance.pid) if each.name == name
            )
            return next((each for each in found if word in each.command), None)

        found: Process = self.until(find, f"a process {name}")
        return found

    def sandboxes(self) -> list[Path]:
        return [*(self.instance.data_dir / "engine/builders").glob("*/*")]

    def outputs(self) -> list[Path]:
        folder = self.instance.data_dir / "engine/outputs"
        return [path for path in folder.glob("*/layout/ingest/*") if any(path.iterdir())]


def fetch(stand: Stand) -> None:
    """Come to where the base image's layer is being fetched."""
    stand.slow.open.clear()
    stand.slow.asked.clear()
    stand.order(f"FROM {stand.slow.reference}\nRUN ONCE; echo ended\n")
    assert stand.slow.asked.wait(WAIT_SECONDS), stand.lines()


def unpack(stand: Stand) -> None:
    """Come to where the context is being unpacked."""
    files = {f"file{n}": "x" * 2_000 for n in range(FILES)}
    stand.order(f"FROM {stand.slow.reference}\nCOPY . /x\nRUN ONCE; echo ended\n", zipped(**files))
    folder = stand.instance.data_dir / "builds"
    stand.until(lambda: any(folder.glob("*/context/*")), "the first file")


def start(stand: Stand) -> None:
    """Come to where the builder's daemon starts."""
    stand.order(f"FROM {stand.slow.reference}\nRUN ONCE; echo ended\n")
    stand.until(stand.sandboxes, "a builder")


def step(stand: Stand) -> None:
    """Come to where RUN runs."""
    stand.order(f"FROM {stand.slow.reference}\nRUN ONCE; echo begun; sleep 3; echo ended\n")
    stand.until(lambda: "begun" in stand.lines(), "the step")


def export(stand: Stand) -> None:
    """Come to where the image is written."""
    write = f"head -c {BIG_BYTES} /dev/urandom >/big"
    stand.order(f"FROM {stand.slow.reference}\nRUN ONCE; {write}; echo ended\n")
    stand.until(lambda: "ended" in stand.lines(), "the step's end")
    time.sleep(0.3)


def push(stand: Stand) -> None:
    """Come to where the image is pushed."""
    write = f"head -c {BIG_BYTES} /dev/urandom >/big"
    stand.order(f"FROM {stand.slow.reference}\nRUN ONCE; {write}; echo ended\n")
    stand.until(lambda: any(each.startswith("Pushing ") for each in stand.lines()), "the push")


PHASES: dict[str, Callable[[Stand], None]] = {
    each.__name__: each for each in (fetch, unpack, start, step, export, push)
}


def server(stand: Stand) -> int:
    return stand.instance.pid


def helper(stand: Stand) -> int:
    return stand.process("python", "helper/__main__.py").pid


def daemon(stand: Stand) -> int:
    return stand.process("dockerd").pid


def client(stand: Stand) -> int:
    return stand.process("docker-buildx", "slipway.build=").pid


def skopeo(stand: Stand) -> int:
    return stand.process("skopeo").pid


VICTIMS: dict[str, Callable[[Stand], int]] = {
    each.__name__: each for each in (server, helper, daemon, client, skopeo)
}
