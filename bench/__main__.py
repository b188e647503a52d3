"""`python -m bench [PART…]`: runs all benchmarks or some, and prints one JSON object a line."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import (
    builds,
    flood,
    growth,
    ingest,
    latency,
    logs,
    pages,
    queue,
    scale,
    starts,
    uploads,
)
from bench.figures import Figure
from bench.other_builders import running_registry_in
from bench.peer import compare as peer
from tests.instance import Instance


@contextmanager
def building(folder: Path) -> Iterator[tuple[Instance, str]]:
    """An instance with the real engine, not started, and a registry from which it may fetch."""
    with running_registry_in(folder) as registry:
        instance = Instance(
            folder / "data",
            engine="buildkit",
            SLIPWAY_WORKERS="4",
            SLIPWAY_DAILY_BUILDS="10000",
            SLIPWAY_PRIVATE_REGISTRIES=registry,
            SLIPWAY_INSECURE_REGISTRIES=registry,
        )
        try:
            yield instance, registry
        finally:
            if instance.process is not None:
                instance.stop()


def service(folder: Path) -> Iterator[Figure]:
    """Starts, uploads and pages of one instance with the real engine."""
    with building(folder) as (instance, _):
        yield from starts.run(instance)
        yield from uploads.run(instance)
        yield from pages.run(instance)


def built(folder: Path) -> Iterator[Figure]:
    """Builds of one instance, compared with those of other programs."""
    with building(folder) as (instance, registry):
        instance.start()
        yield from builds.run(instance, registry)


PARTS: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "service": service,
    "builds": built,
    "latency": latency.run,
    "logs": logs.run,
    "ingest": ingest.run,
    "flood": flood.run,
    "queue": queue.run,
    "scale": scale.run,
    "peer": peer.run,
    "growth": growth.run,
}


def main() -> None:
    asked = sys.argv[1:] or list(PARTS)
    if unknown := set(asked) - set(PARTS):
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        for name in asked:
            for figure in PARTS[name](Path(folder)):
                print(json.dumps(figure.row()), flush=True)


main()
