"""Lines per second that the worker of one build stores, in both databases."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure
from bench.logs import printing, until
from tests.instance import Instance
from tests.with_servers import running_servers

LINES = 900_000


def run(folder: Path) -> Iterator[Figure]:
    with running_servers() as (database, _):
        yield from stored(folder / "postgresql", "postgresql", DATABASE_URL=database.url)
    yield from stored(folder / "sqlite", "sqlite")


def stored(folder: Path, name: str, **environment: str) -> Iterator[Figure]:
    """Computed from the times of the first and the last line in the log."""
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
