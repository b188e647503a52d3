"""`python -m bench [PART…]`: runs all benchmarks, or some; one JSON object a line."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import builds, flood, ingest, latency, logs, pages, scale, starts, uploads
from bench.figures import Figure
from bench.peer import compare as peer
from tests.instance import Instance


def service(folder: Path) -> Iterator[Figure]:
    """Starts, uploads, builds and pages of one instance with the real engine."""
    instance = Instance(folder / "data", engine="buildkit")
    yield from starts.run(instance)
    try:
        for bench in (uploads, builds, pages):
            yield from bench.run(instance)
    finally:
        instance.stop()


PARTS: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "service": service,
    "latency": latency.run,
    "logs": logs.run,
    "ingest": ingest.run,
    "flood": flood.run,
    "scale": scale.run,
    "peer": peer.run,
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
