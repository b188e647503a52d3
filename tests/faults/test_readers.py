"""Nothing is lost and nothing told twice, whatever is killed: connections, servers, the bell."""

import asyncio
import hashlib
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import script, zipped
from tests.faults.readers import EventReader, Reader, SocketReader
from tests.instance import Instance, send

CONTEXT = zipped(a_txt="a")


def dockerfile(seed: int, steps: int) -> str:
    chance = random.Random(seed)
    found: list[str] = []
    for n in range(steps):
        found.append(f"repeat {chance.randrange(1, 60)} {n} {'x' * chance.randrange(200)}")
        if chance.random() < 0.7:
            found.append(f"sleep {chance.uniform(0.01, 0.15):.3f}")
    return script(*found)


async def followed(
    instance: Instance, image_id: str, seed: int, *, readers: int, cuts: int
) -> list[Reader]:
    key = (instance.data_dir / "admin.key").read_text().strip()
    found: list[Reader] = []
    for n in range(readers):
        kind = SocketReader if n % 2 else EventReader
        chance = random.Random(seed * 1_000 + n)
        found.append(kind(instance.port, image_id, key, chance=chance, cuts=cuts))
    await asyncio.gather(*(reader.run() for reader in found))
    return found


def text_of(instance: Instance, image_id: str) -> str:
    """Of all attempts, from the archive once it is there."""
    with instance.client() as client:
        answer = client.get(f"/images/{image_id}/logs?offset=1:0")
        answer.raise_for_status()
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.text


def check(readers: list[Reader], text: str) -> int:
    """Returns how often something was killed under them."""
    expected = hashlib.sha256(text.encode()).hexdigest()
    for reader in readers:
        assert reader.status == "built and pushed"
        assert reader.hash == expected, (len(reader.texts), text.count("\n"))
    return sum(reader.kills for reader in readers)


def run(
    folder: Path,
    seed: int,
    *,
    steps: int,
    readers: int,
    cuts: int,
    trouble: Callable[[Instance], None] | None = None,
    **environment: str,
) -> int:
    with Instance(folder / f"data{seed}", engine="scripted", **environment) as instance:
        with instance.client() as client:
            image_id = send(client, dockerfile(seed, steps), CONTEXT)["image_id"]

        async def both() -> list[Reader]:
            following = asyncio.create_task(
                followed(instance, image_id, seed, readers=readers, cuts=cuts)
            )
            if trouble is not None:
                await asyncio.to_thread(trouble, instance)
            return await following

        found = asyncio.run(asyncio.wait_for(both(), 110))
        return check(found, text_of(instance, image_id))


def restarts(seed: int, times: int, sign: signal.Signals) -> Callable[[Instance], None]:
    def trouble(instance: Instance) -> None:
        chance = random.Random(seed)
        for _ in range(times):
            time.sleep(chance.uniform(0.5, 1.0))
            instance.stop(sign)
            instance.start()

    return trouble


def test_connections_that_are_cut_cost_no_line(tmp_path: Path) -> None:
    assert run(tmp_path, 1, steps=25, readers=8, cuts=6) >= 40


def test_a_server_that_is_killed_and_starts_again_costs_no_line(tmp_path: Path) -> None:
    trouble = restarts(2, 1, signal.SIGKILL)
    assert run(tmp_path, 2, steps=20, readers=6, cuts=2, trouble=trouble) >= 12


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_kills_cost_no_line(tmp_path: Path) -> None:
    kills = 0
    for seed in range(100, 124):
        sign = signal.SIGKILL if seed % 2 else signal.SIGINT
        trouble = restarts(seed, seed % 3, sign) if seed % 3 else None
        kills += run(tmp_path, seed, steps=40, readers=12, cuts=5, trouble=trouble)
    assert kills >= 1_000
