"""Nothing is lost and nothing told twice by a single process, cut off or killed as it may be."""

import asyncio
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import zipped
from tests.faults.builds import Printing, archived_text, check, wait_for_archives
from tests.faults.readers import EventReader, Reader, SocketReader
from tests.instance import Instance, send

CONTEXT = zipped(a_txt="a")


async def followed(
    instance: Instance, image_id: str, seed: int, *, readers: int, cuts: int
) -> list[Reader]:
    key = (instance.data_dir / "admin.key").read_text().strip()
    found: list[Reader] = []
    for n in range(readers):
        kind = SocketReader if n % 2 else EventReader
        chance = random.Random(seed * 1_000 + n)
        found.append(kind([instance.port], image_id, key, chance=chance, cuts=cuts))
    await asyncio.gather(*(reader.run() for reader in found))
    return found


def run(
    folder: Path,
    seed: int,
    *,
    steps: int,
    readers: int,
    cuts: int,
    trouble: Callable[[Instance], None] | None = None,
) -> int:
    """Returns how many connections were cut."""
    environment = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "FAULTS_LEASE": "8"}
    with Instance(folder / f"data{seed}", engine="scripted", **environment) as instance:
        printing = Printing.random(seed, steps=steps, seconds=steps * 0.06)

        def query(statement: str) -> list[tuple[Any, ...]]:
            path = instance.data_dir / "slipway.sqlite3"
            with closing(sqlite3.connect(path, timeout=20)) as database:
                return database.execute(statement).fetchall()

        async def both(image_id: str) -> list[Reader]:
            following = asyncio.create_task(
                followed(instance, image_id, seed, readers=readers, cuts=cuts)
            )
            if trouble is not None:
                await asyncio.to_thread(trouble, instance)
            return await following

        with instance.client() as client:
            image_id = send(client, printing.dockerfile, CONTEXT)["image_id"]
            found = asyncio.run(asyncio.wait_for(both(image_id), 110))
            wait_for_archives(query)
            check(
                found, archived_text(query, instance.data_dir / "files", image_id, printing), client
            )
        return sum(reader.made_cuts for reader in found)


def restarts(seed: int, times: int, sign: signal.Signals) -> Callable[[Instance], None]:
    def trouble(instance: Instance) -> None:
        chance = random.Random(seed)
        for _ in range(times):
            time.sleep(chance.uniform(0.5, 1.0))
            instance.stop(sign)
            instance.start()

    return trouble


def test_connections_that_are_cut_cost_no_line(tmp_path: Path) -> None:
    assert run(tmp_path, 1, steps=25, readers=8, cuts=6) >= 24


def test_a_server_that_is_killed_and_starts_again_costs_no_line(tmp_path: Path) -> None:
    trouble = restarts(2, 1, signal.SIGKILL)
    assert run(tmp_path, 2, steps=20, readers=6, cuts=2, trouble=trouble) >= 6


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_hundreds_of_kills_cost_no_line(tmp_path: Path) -> None:
    cuts = 0
    for seed in range(100, 106):
        sign = signal.SIGKILL if seed % 2 else signal.SIGINT
        trouble = restarts(seed, seed % 3, sign) if seed % 3 else None
        cuts += run(tmp_path, seed, steps=40, readers=12, cuts=5, trouble=trouble)
    assert cuts >= 180
