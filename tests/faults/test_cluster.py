"""Nothing is lost and nothing told twice, whichever part of a cluster is killed under it."""

import asyncio
import random
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.conftest import zipped
from tests.faults.bell import share_lost
from tests.faults.builds import Printing, archived_text, check, wait_for_archives
from tests.faults.cluster import Plan, Troubled, troubled
from tests.faults.readers import EventReader, PageReader, Reader, SocketReader, TextReader
from tests.instance import send

CONTEXT = zipped(a_txt="a")
KINDS = [SocketReader, EventReader, PageReader, TextReader]
Watched = dict[str, tuple[Printing, list[Reader]]]


def round_of(
    cluster: Troubled,
    seed: int,
    *,
    builds: int,
    steps: int,
    seconds: float,
    readers: int,
    cuts: int,
    plan: Plan,
    pause: float,
) -> Watched:
    """Some builds and their readers, and what is planned to go wrong under them."""
    watched: Watched = {}
    cluster.first.answers()
    with cluster.first.client(cluster.key) as client:
        for n in range(builds):
            printing = Printing.random(seed * 100 + n, steps=steps, seconds=seconds)
            name = f"round{seed}-{n}"
            made = send(client, printing.dockerfile, CONTEXT, username="owner", name=name)
            found = [
                KINDS[k % len(KINDS)](
                    cluster.ports,
                    made["image_id"],
                    cluster.key,
                    chance=random.Random(seed * 10_000 + n * 100 + k),
                    cuts=cuts,
                )
                for k in range(readers)
            ]
            watched[made["image_id"]] = printing, found

    async def all_of_it() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _, found in watched.values():
                for reader in found:
                    tasks.create_task(reader.run())
            chance = random.Random(seed)
            await asyncio.to_thread(cluster.suffer, plan, chance, pause=pause)

    asyncio.run(asyncio.wait_for(all_of_it(), 240))
    return watched


def all_right(cluster: Troubled, watched: Watched) -> Counter[str]:
    """Checks every reader against the archives; returns what was counted."""
    wait_for_archives(cluster.query)
    for web in cluster.webs:
        web.answers()
        assert httpx.get(f"{web.url}/readyz", trust_env=False).status_code == 200
    counts: Counter[str] = Counter(cluster.kills)
    with cluster.first.client(cluster.key) as client:
        for image_id, (printing, readers) in watched.items():
            text = archived_text(
                cluster.query, cluster.first.data_dir / "files", image_id, printing
            )
            check(readers, text, client)
            counts["cut connections"] += sum(reader.made_cuts for reader in readers)
            counts["(suffered by readers)"] += sum(reader.suffered for reader in readers)
            counts["(lines)"] += text.count("\n")
            counts["(hashes compared)"] += len(readers)
    bells, lost = share_lost(cluster.first.data_dir)
    assert 0.5 < lost < 0.9
    counts["(bells)"], counts["(bells thrown away)"] = bells, round(bells * lost)
    counts["(workers killed with a build in hand)"] = cluster.held
    [[counts["(attempts lost)"]]] = cluster.query(
        "SELECT count(*) FROM builds_build WHERE status = 'lost'"
    )
    return counts


def kills_in(counts: Counter[str]) -> int:
    return sum(count for name, count in counts.items() if not name.startswith("("))


@pytest.mark.servers
def test_whatever_is_killed_costs_no_line(tmp_path: Path, registry: str) -> None:
    plan = {
        "kill_web": 1,
        "kill_worker": 1,
        "stop_worker": 1,
        "kill_redis": 1,
        "kill_postgres": 1,
    }
    with troubled(tmp_path, registry, lease=4) as cluster:
        watched = round_of(
            cluster, 1, builds=2, steps=12, seconds=5, readers=4, cuts=3, plan=plan, pause=0.8
        )
        counts = all_right(cluster, watched)
    assert kills_in(counts) >= 20


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_kills_cost_no_line(
    tmp_path: Path, registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = {
        "kill_web": 5,
        "stop_web": 2,
        "kill_worker": 3,  # once more, and a build under which all died would be given up
        "stop_worker": 3,
        "kill_redis": 2,
        "stop_redis": 1,
        "kill_postgres": 2,
        "stop_postgres": 1,
        "crash_postgres": 1,
    }
    began = time.monotonic()
    watched: Watched = {}
    with troubled(tmp_path, registry, lease=8) as cluster:
        for seed in range(100, 108):
            watched |= round_of(
                cluster,
                seed,
                builds=6,
                steps=25,
                seconds=12,
                readers=8,
                cuts=4,
                # Once in the run PostgreSQL is away for longer than a lease.
                plan=plan | {"starve_of_postgres": int(seed == 103)},
                pause=1.2,
            )
        counts = all_right(cluster, watched)
    told = [f"{kills_in(counts)} kills in {time.monotonic() - began:.0f} s"]
    told += [f"{count:7} {name}" for name, count in sorted(counts.items())]
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *told, ""]))
    assert kills_in(counts) >= 1_000
