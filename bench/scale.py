"""Server time of lists, searches, filters and details with a million images, on PostgreSQL."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure
from tests.with_servers import postgres

TARGET_MS = 300
IMAGES = 1_000_000


def run(folder: Path) -> Iterator[Figure]:
    """Also counts the queries of each request: their number does not depend on the size of the
    tables."""
    with tempfile.TemporaryDirectory(prefix="slipway-scale-") as own:
        # PostgreSQL does not run as root, and must be able to enter the folder.
        Path(own).chmod(0o755)
        (data := Path(own) / "pg").mkdir()
        with postgres(data) as server:
            environment = {
                **os.environ,
                "DATABASE_URL": server.url,
                "SLIPWAY_DATA_DIR": str(folder / "scale"),
            }
            command = [sys.executable, "-m", "bench.lists", str(IMAGES)]
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                for line in child.stdout:
                    yield from _figures(json.loads(line))
            if child.returncode:
                raise RuntimeError("bench.lists failed")


def _figures(row: dict[str, float | str]) -> Iterator[Figure]:
    name, took = f"scale.{row['name']}", float(row["milliseconds"])
    yield Figure(
        name=name, value=took, unit="ms", ratio_to=f"{TARGET_MS} ms", ratio=took / TARGET_MS
    )
    yield Figure(name=f"{name}.cpu", value=float(row["cpu"]), unit="ms")
    yield Figure(name=f"{name}.queries", value=float(row["queries"]), unit="queries")
