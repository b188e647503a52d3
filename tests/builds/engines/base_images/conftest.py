"""Base images fetched for real: skopeo of an engine root, and registries on loopback."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from builds.build_spec import Base
from builds.engine_root import Show, sandboxed
from builds.engines.base_images.fetch import BaseHold, Events, T
from builds.engines.base_images.images import BaseImages, FetchedBase
from builds.engines.sandbox.settings import EngineSettings
from builds.process import start
from tests.builds.engines.base_images.scripted_registry import ScriptedRegistry, scripted_registry
from tests.engine_root import ENGINE_ROOT
from tests.registry import CONFIG, free_port


@pytest.fixture(scope="session")
def engine_root() -> Path:
    return ENGINE_ROOT.find()


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with scripted_registry() as made:
        yield made


@pytest.fixture
def target() -> Iterator[ScriptedRegistry]:
    """What stands on a private address and nobody may reach unless the operator says so."""
    with scripted_registry() as made:
        yield made


def base(reference: str, *, platform: str = "linux/amd64", line: int = 3) -> Base:
    return Base(context="slipway-base-1", reference=reference, platform=platform, line=line)


def finish(events: Events[T]) -> tuple[T, str]:
    """What a generator returned, and what it said."""
    said = b""
    while True:
        try:
            said += next(events).data
        except StopIteration as end:
            return end.value, said.decode()


@dataclass
class Fetcher:
    """Fetches with settings of a test."""

    settings: EngineSettings
    names: dict[str, list[str]] = field(default_factory=dict)
    """What names resolve to; others stand for themselves."""
    hold: BaseHold = field(default_factory=BaseHold)
    said: str = ""

    def __post_init__(self) -> None:
        self.images = BaseImages(self.settings, resolve=self._resolve)

    def configure(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        self.images = BaseImages(self.settings, resolve=self._resolve)

    def __call__(self, reference: str, *, pull: bool = False, **values: Any) -> FetchedBase:
        (found,), self.said = finish(
            self.images.fetch([base(reference, **values)], self.hold, pull=pull)
        )
        return found

    def private(self, reference: str, digest: str, *, owner: UUID, token: str = "") -> FetchedBase:
        (found,), self.said = finish(
            self.images.fetch_private(
                [(base(reference), digest)], self.hold, owner_id=owner, token=token
            )
        )
        return found

    def _resolve(self, host: str, port: int) -> list[str]:
        del port
        return self.names.get(host, [host] if host.replace(".", "").isdigit() else [])


@pytest.fixture
def fetcher(tmp_path: Path, engine_root: Path, registry: ScriptedRegistry) -> Iterator[Fetcher]:
    """The scripted registry is named in the settings, as one on a private address without TLS."""
    made = Fetcher(
        EngineSettings(
            root=tmp_path / "engine",
            engine_root=engine_root,
            insecure_registries=frozenset({registry.address}),
            reserve_bytes=0,
            base_timeout_seconds=60,
        )
    )
    with made.hold:
        yield made


@contextmanager
def real_registry(engine_root: Path, folder: Path) -> Iterator[str]:
    """The engine root's docker-registry on loopback; its `host:port`."""
    port = free_port()
    blobs = folder / "registry"
    blobs.mkdir()
    config = folder / "registry.yml"
    config.write_text(CONFIG.format(root="/registry", port=port))
    argv = sandboxed(
        engine_root,
        ["/usr/bin/docker-registry", "serve", "/registry.yml"],
        show=Show(readable={"/registry.yml": config}, writable={"/registry": blobs}),
        network=True,
        env={},
    )
    with start(argv, log=folder / "registry.log"):
        until = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/v2/")
                break
            except httpx.TransportError:
                assert time.monotonic() < until, (folder / "registry.log").read_text()
                time.sleep(0.02)
        yield f"127.0.0.1:{port}"


def push(address: str, source: ScriptedRegistry, tag: str) -> None:
    """Put an image of the scripted registry into a real one."""
    to = f"http://{address}/v2/team/base"
    with httpx.Client() as client:
        for digest, data in source.blobs.items():
            place = client.post(f"{to}/blobs/uploads/").raise_for_status().headers["Location"]
            where = httpx.URL(place).copy_merge_params({"digest": digest})
            client.put(where, content=data).raise_for_status()
        kind, data = source.manifests[tag]
        headers = {"Content-Type": kind}
        client.put(f"{to}/manifests/{tag}", content=data, headers=headers).raise_for_status()
