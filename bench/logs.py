"""From the worker's read of a line to the viewer, and what viewers, old lines and searches cost."""

import asyncio
import random
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.builds import zipped
from bench.figures import Figure
from bench.processes import memory_mb
from tests.instance import Instance, send, watch
from tests.sockets import Socket

CONTEXT = zipped({"a.txt": b"a"})
VIEWERS, IDLE = 500, 2_000
SECONDS = 10
MANY_LINES = 1_000_000
FILES = 8_192


def script(*steps: str) -> str:
    return "\n".join(["FROM scratch", *(f"RUN scripted: {step}" for step in steps), ""])


class Viewers:
    """Some websockets on one log, and how long each line took from the worker to here, in ms."""

    def __init__(self, instance: Instance, image_id: str) -> None:
        self.port = instance.port
        self.path = f"/ws/images/{image_id}/logs"
        self.headers = {"Authorization": (instance.data_dir / "admin.key").read_text().strip()}
        self.delays: list[float] = []

    async def open(self, path: str = "") -> Socket:
        return await Socket.open(self.port, path or self.path, self.headers)

    async def view(self, since: float) -> None:
        socket = await self.open()
        while message := await socket.message():
            now = time.time()
            if message["type"] == "lines":
                socket.ack(message["next"])
                times = (line[2] / 1_000_000 for line in message["lines"])
                self.delays += [1000 * (now - at) for at in times if at > since]
        socket.cut()

    async def poll(self, client: httpx.AsyncClient, image_id: str, since: float) -> None:
        """As a client does that asks each second."""
        line, ended = 0, False
        while not ended:
            answer = (await client.get(f"/images/{image_id}/logs/lines?from={line}")).json()
            now = time.time()
            rows, ended = answer["lines"], answer["ended"]
            line += len(rows)
            self.delays += [
                1000 * (now - at) for at in (r[2] / 1_000_000 for r in rows) if at > since
            ]
            await asyncio.sleep(1)


def ticking(seconds: float, per_second: int) -> str:
    count = int(seconds * per_second)
    steps = (step for n in range(count) for step in (f"echo tick {n}", f"sleep {1 / per_second}"))
    return script(*steps)


def run(folder: Path) -> Iterator[Figure]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    with Instance(folder / "logs", engine="scripted", SLIPWAY_DAILY_BUILDS="10000") as instance:
        yield from latency(instance)
        yield from viewers(instance)
        yield from long_log(instance)


def latency(instance: Instance) -> Iterator[Figure]:
    found: dict[str, list[float]] = {}
    for kind in ("polled", "pushed"):
        with instance.client() as client:
            made = send(client, ticking(SECONDS, 100), CONTEXT, name=f"bench-{kind}")
        all_of = Viewers(instance, made["image_id"])
        since = time.time() + 3  # until everybody is there

        async def many(all_of: Viewers = all_of, since: float = since) -> None:
            await asyncio.gather(*(all_of.view(since) for _ in range(VIEWERS)))

        async def one(all_of: Viewers = all_of, made: object = made, since: float = since) -> None:
            address, key = instance.url, all_of.headers
            image_id = all_of.path.split("/")[3]
            async with httpx.AsyncClient(
                base_url=address, headers=key, trust_env=False, timeout=60
            ) as client:
                await all_of.poll(client, image_id, since)

        asyncio.run(many() if kind == "pushed" else one())
        found[kind] = sorted(all_of.delays)
    for kind, delays in found.items():
        p50, p99 = statistics.median(delays), delays[int(0.99 * len(delays))]
        others = found["polled"]
        pushed = kind == "pushed"
        who = f"{VIEWERS}_viewers" if pushed else "one_polling_reader"
        ratio = p50 / statistics.median(others) if pushed else None
        name = "logs.latency.one_polling_reader.p50"
        yield Figure(
            name=f"logs.latency.{who}.p50", value=p50, unit="ms", ratio_to=name, ratio=ratio
        )
        yield Figure(name=f"logs.latency.{who}.p99", value=p99, unit="ms")


def viewers(instance: Instance) -> Iterator[Figure]:
    with instance.client() as client:
        made = send(client, script("repeat 60000 " + "x" * 100, "sleep 45"), CONTEXT, name="idle")
    time.sleep(15)
    one = Viewers(instance, made["image_id"])

    async def idle() -> tuple[float, float]:
        before = memory_mb(instance.pid)
        dead = await one.open()
        await asyncio.sleep(2)
        dead_cost = memory_mb(instance.pid) - before
        end = f"{one.path}?offset=1:60000"
        before = memory_mb(instance.pid)
        sockets: list[Socket] = []
        for _ in range(IDLE // 50):
            sockets += await asyncio.gather(*(one.open(end) for _ in range(50)))
        await asyncio.sleep(1)
        cost = memory_mb(instance.pid) - before
        for socket in (*sockets, dead):
            socket.cut()
        return dead_cost, cost

    dead, cost = asyncio.run(idle())
    yield Figure(name="logs.memory.dead_reader", value=1024 * dead, unit="KiB")
    yield Figure(name="logs.memory.idle_viewer", value=1024 * cost / IDLE, unit="KiB")


def long_log(instance: Instance) -> Iterator[Figure]:
    with instance.client() as client:
        began = time.monotonic()
        made = send(client, script(f"repeat {MANY_LINES - 100} of them"), CONTEXT, name="long")
        lines, status = watch(client, made["image_id"], f"1:{MANY_LINES - 100}")
        assert status == "built and pushed", lines
        per_second = MANY_LINES / (time.monotonic() - began)
        yield Figure(name="logs.ingested.scripted", value=per_second, unit="lines/s")
        time.sleep(20)  # until it is archived
        path = f"/images/{made['image_id']}/logs"
        chance = random.Random(7)
        times = []
        for _ in range(50):
            began = time.monotonic()
            client.get(
                f"{path}/lines?from={chance.randrange(MANY_LINES - 1000)}"
            ).raise_for_status()
            times.append(1000 * (time.monotonic() - began))
        yield Figure(name="logs.random_page.p50", value=statistics.median(times), unit="ms")
        yield Figure(name="logs.random_page.worst", value=max(times), unit="ms")
        began = time.monotonic()
        total = client.get(f"{path}/search?q=77").json()["total"]
        assert total > 1_000
        yield Figure(name="logs.search", value=1000 * (time.monotonic() - began), unit="ms")
