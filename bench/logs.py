"""The cost of viewers that only wait, and the time to find any part of a long log."""

import asyncio
import random
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.figures import Figure
from bench.latency import CONTEXT, FILES
from bench.processes import memory_mb
from tests.instance import Instance, send
from tests.sockets import Socket

IDLE, DEAD = 2_000, 20
MANY_LINES = 1_000_000
OPENED = 50
PATIENCE = 300.0


def run(folder: Path) -> Iterator[Figure]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    with Instance(folder / "logs", engine="scripted") as instance:
        yield from viewers(instance)
        gate = folder / "gate"
        with instance.client() as client:
            # With the lines of Slipway itself, the log is just below the limit.
            image_id = printing(client, MANY_LINES - 100, f"until {gate}")
            until(client, image_id, lines=MANY_LINES - 100)
            yield from reading(instance, image_id, "live")
            yield from ending(instance, image_id, gate)
            time.sleep(20)  # until it is archived
            yield from reading(instance, image_id, "archived")
            yield from searching(client, image_id)


def printing(client: httpx.Client, lines: int, *more: str) -> str:
    steps = (f"repeat {lines} of a build that has a lot to say about what it does", *more)
    dockerfile = "\n".join(["FROM scratch", *(f"RUN scripted: {each}" for each in steps), ""])
    image_id: str = send(client, dockerfile, CONTEXT, name=f"bench-{lines}")["image_id"]
    return image_id


def until(client: httpx.Client, image_id: str, *, lines: int = 0, ended: bool = False) -> None:
    """Returns when the log has so many lines, or has ended."""
    by = time.monotonic() + PATIENCE
    while time.monotonic() < by:
        log = client.get(f"/images/{image_id}/logs/lines?from=999999999").json()
        if log["total"] >= lines and log["ended"] >= ended:
            return
        time.sleep(0.2)
    raise AssertionError(log)


def reading(instance: Instance, image_id: str, kind: str) -> Iterator[Figure]:
    """Pages and websockets from any line on."""
    chance = random.Random(7)
    places = [chance.randrange(MANY_LINES - 1_000) for _ in range(OPENED)]
    path = f"/images/{image_id}/logs/lines"
    times = []
    with instance.client() as client:
        for place in places:
            began = time.monotonic()
            client.get(f"{path}?from={place}").raise_for_status()
            times.append(1000 * (time.monotonic() - began))
    yield from both(f"logs.random_page.{kind}", times)

    async def resumed() -> list[float]:
        return [await resume(instance, image_id, place) for place in places]

    yield from both(f"logs.resume.{kind}", asyncio.run(resumed()))


async def resume(instance: Instance, image_id: str, line: int) -> float:
    """From the first byte of a new connection to the last of the first lines, in ms."""
    headers = {"Authorization": (instance.data_dir / "admin.key").read_text().strip()}
    path = f"/ws/images/{image_id}/logs?offset=1:{line}"
    began = time.monotonic()
    socket = await Socket.open(instance.port, path, headers)
    while message := await socket.message():
        if message["type"] == "lines":
            assert message["first"] == line, message["first"]
            break
    took = 1000 * (time.monotonic() - began)
    socket.cut()
    return took


def both(name: str, times: list[float]) -> Iterator[Figure]:
    yield Figure(name=f"{name}.p50", value=statistics.median(times), unit="ms")
    yield Figure(name=f"{name}.worst", value=max(times), unit="ms", target=100)


def ending(instance: Instance, image_id: str, gate: Path) -> Iterator[Figure]:
    """From the moment the engine continues to the end until a viewer receives the end."""

    async def watched() -> float:
        headers = {"Authorization": (instance.data_dir / "admin.key").read_text().strip()}
        path = f"/ws/images/{image_id}/logs?offset=1:{MANY_LINES - 99}"
        socket = await Socket.open(instance.port, path, headers)
        await socket.message()
        await asyncio.to_thread(gate.touch)
        last = 0.0
        while message := await socket.message():
            if message["type"] == "lines":
                last = message["lines"][-1][2] / 1_000_000
            if message["type"] == "done":
                return 1000 * (time.time() - last)
        raise AssertionError("it was closed without an end")

    took = asyncio.run(watched())
    yield Figure(name="logs.end_event", value=took, unit="ms", target=500)


def searching(client: httpx.Client, image_id: str) -> Iterator[Figure]:
    began = time.monotonic()
    total = client.get(f"/images/{image_id}/logs/search?q=77").json()["total"]
    assert total > OPENED
    took = 1000 * (time.monotonic() - began)
    yield Figure(name="logs.search", value=took, unit="ms", target=1_000)


def viewers(instance: Instance) -> Iterator[Figure]:
    lines = 60_000
    with instance.client() as client:
        image_id = printing(client, lines, "sleep 60")
        until(client, image_id, lines=lines)
    headers = {"Authorization": (instance.data_dir / "admin.key").read_text().strip()}
    path = f"/ws/images/{image_id}/logs"

    async def idle() -> tuple[float, float]:
        before = memory_mb(instance.pid)
        dead = [await Socket.open(instance.port, path, headers) for _ in range(DEAD)]
        await asyncio.sleep(2)
        dead_cost = (memory_mb(instance.pid) - before) / DEAD
        before = memory_mb(instance.pid)
        sockets: list[Socket] = []
        end = f"{path}?offset=1:{lines}"
        for _ in range(IDLE // 50):
            more = (Socket.open(instance.port, end, headers) for _ in range(50))
            sockets += await asyncio.gather(*more)
        await asyncio.sleep(1)
        cost = memory_mb(instance.pid) - before
        for socket in (*sockets, *dead):
            socket.cut()
        return dead_cost, cost

    dead, cost = asyncio.run(idle())
    yield Figure(name="logs.memory.dead_reader", value=1024 * dead, unit="KiB", target=512)
    yield Figure(name="logs.memory.idle_viewer", value=1024 * cost / IDLE, unit="KiB", target=64)
