"""A private registry on a loopback port of its own, for tests that push and pull for real."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from builds.process import start
from builds.registry.client import Registry

CONFIG = """version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_registry(folder: Path, *, more: str = "") -> Iterator[str]:
    """Run one that keeps its blobs in `folder`; its `host:port` once it answers.

    `more` is added to its configuration.
    """
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(CONFIG.format(root=folder / "blobs", port=port) + more)
    with start(["docker-registry", "serve", config], log=folder / "registry.log"):
        until = time.monotonic() + 10
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/v2/", verify=False)
                break
            except httpx.TransportError:
                assert time.monotonic() < until, (folder / "registry.log").read_text()
                time.sleep(0.02)
        yield f"127.0.0.1:{port}"


def tags_of(registry: Registry, repository: str) -> list[str]:
    """All tags, sorted; none of a repository that does not exist."""
    path = f"/v2/{repository}/tags/list?n=1000"
    answer = registry._call("GET", path, f"for the tags of {repository}", accepted={200, 404})
    return sorted(answer.json()["tags"] or []) if answer.status_code == 200 else []
