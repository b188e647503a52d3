"""Lines per second that one build's worker stores, in either database."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Figure
from bench.logs import printing, until
from tests.instance import Instance
from tests.with_servers import postgres

LINES = 900_000


def run(folder: Path) -> Iterator[Figure]:
    with ExitStack() as stack:
        # PostgreSQL runs as a user of its own, who must be able to enter the folder.
        there = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-bench-pg-")))
        there.chmod(0o755)
        (there / "pg").mkdir()
        database = stack.enter_context(postgres(there / "pg"))
        yield from stored(folder / "postgresql", "postgresql", DATABASE_URL=database)
    yield from stored(folder / "sqlite", "sqlite")


def stored(folder: Path, name: str, **environment: str) -> Iterator[Figure]:
    """By the times of the first and the last line, which stand in the log."""
    with (
        Instance(folder, engine="scripted", **environment) as instance,
        instance.client() as client,
    ):
        image_id = printing(client, LINES)
        until(client, image_id, lines=LINES, ended=True)
        path = f"/images/{image_id}/logs/lines"
        first, last = (
            client.get(f"{path}?count=1&from={line}").json()["lines"][0][2] / 1_000_000
            for line in (2, LINES)
        )
    shutil.rmtree(folder)
    yield Figure(
        name=f"logs.ingested.{name}", value=LINES / (last - first), unit="lines/s", target=50_000
    )
