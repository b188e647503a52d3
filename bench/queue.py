"""The scheduler alone: claims for short and long queues, a fleet at its peak, and estimates."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure
from bench.queue_estimates import error_of_estimates
from tests.with_servers import postgres

TARGETS = {"claim_p99": 20.0, "error_median": 25.0}


def run(folder: Path) -> Iterator[Figure]:
    """Claims on SQLite and on its own PostgreSQL, then the simulation of estimates."""
    yield from _claims({"SLIPWAY_DATA_DIR": str(folder / "queue")}, "sqlite")
    with tempfile.TemporaryDirectory(prefix="slipway-queue-") as own:
        # PostgreSQL does not run as root, and must be able to enter the folder.
        Path(own).chmod(0o755)
        (data := Path(own) / "pg").mkdir()
        with postgres(data) as server:
            settings = {
                "DATABASE_URL": server.url,
                "SLIPWAY_DATA_DIR": str(folder / "queue-postgresql"),
            }
            yield from _claims(settings, "postgresql")
    for name, value, unit in error_of_estimates():
        target = TARGETS.get(name)
        yield Figure(name=f"queue.estimate.{name}", value=value, unit=unit, target=target)


def _claims(settings: dict[str, str], database: str) -> Iterator[Figure]:
    environment = {**os.environ, **settings, "SLIPWAY_ENGINE": "scripted"}
    command = [sys.executable, "-m", "bench.queue_claims"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for line in child.stdout:
            row = json.loads(line)
            name: str = row["name"]
            target = TARGETS.get(name.rpartition(".")[2])
            yield Figure(
                name=f"queue.{database}.{name}",
                value=row["value"],
                unit=row["unit"],
                target=target,
            )
    if child.returncode:
        raise RuntimeError("bench.queue_claims failed")
