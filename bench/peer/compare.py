"""Compares Slipway with the peer: one process each, one PostgreSQL with a million images, in turns.

`p50` is of one client that waits for each answer, `rate` of eight at once. Rounds alternate between
the two services, so that other load on the machine affects both. `SLIPWAY_BENCH_DATABASE` may name
a database that bench.million has filled before.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure
from bench.peer.load import connected, rate
from bench.processes import processor_seconds
from tests.instance import ROOT, START_SECONDS, Instance, free_port
from tests.with_servers import answers, postgres, redis

IMAGES = 1_000_000
ROUNDS, ASKED, CLIENTS, SECONDS = 5, 60, 8, 2.0
SLOW_SECONDS = 0.05
"""Slower requests are repeated less often."""
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
BOUNDARY = "the-boundary-of-a-form"
PREPARE = """
import json
from django.db import connection
from accounts.models import ApiKey, User
from bench import million
from images.models import Image
if not Image.objects.exists():
    million.fill({images})
# The peer knows nothing of most columns.
with connection.cursor() as cursor:
    million.set_defaults(cursor)
users = {{each.username: each for each in User.objects.filter(username__in=[
    "user-2", "user-3", "user-4", "user-5"])}}
def give(giver, taker, number):
    more = number - users[taker].images.count()
    ids = users[giver].images.values_list("pk", flat=True)[:more] if more > 0 else []
    Image.objects.filter(pk__in=list(ids)).update(owner=users[taker])
give("user-3", "user-2", 1900)
give("user-5", "user-4", 1000)
one = Image.objects.with_build().filter(owner=users["user-4"]).newest_first()[500]
users["user-4"].daily_build_limit = users["user-2"].daily_build_limit = 1000000
users["user-4"].save(), users["user-2"].save()
print(json.dumps({{
    "keys": {{name: ApiKey.objects.issue(users[name])[1] for name in ("user-2", "user-4")}},
    "id": str(one.pk), "name": str(one)}}))
"""
TARGETS = {
    # The highest ratio to the peer's p50, and the lowest ratio to its rate.
    "own list of 1,000": (0.8, 1.4),
    "own list of 1,900": (0.71, 1.4),
    "one by id": (0.93, 1.2),
    "one by name": (0.93, 1.25),
    "include_public": (0.034, None),
    "public, page 10,000": (0.063, None),
    "name, common part": (0.042, None),
    "tag, part": (0.047, None),
    "POST 1 KiB": (0.88, None),
    "POST 1 MiB": (0.93, None),
}


@dataclass
class Service:
    name: str
    port: int
    pid: int


@dataclass(frozen=True)
class Call:
    name: str
    made: Callable[[], bytes]
    status: int = 200


def run(folder: Path) -> Iterator[Figure]:
    if not PYTHON.exists():
        raise SystemExit("the peer is not installed: `make bench` does so")
    with ExitStack() as stack:
        own = Path(stack.enter_context(TemporaryDirectory(prefix="slipway-peer-")))
        own.chmod(0o755)
        for name in ("pg", "redis", "contexts"):
            (own / name).mkdir()
        url = os.environ.get("SLIPWAY_BENCH_DATABASE", "")
        if not url:
            url = stack.enter_context(postgres(own / "pg")).url
        queue = stack.enter_context(redis(own / "redis"))
        instance = Instance(
            folder / "peer", engine="scripted", DATABASE_URL=url, REDIS_URL=queue.url
        )
        instance.manage("migrate", "-v0")
        told = instance.manage("shell", "-v0", "-c", PREPARE.format(images=IMAGES))
        facts = json.loads(told.splitlines()[-1])
        ours = stack.enter_context(_slipway(instance))
        peer = stack.enter_context(_peer(url, queue.url, own / "contexts"))
        only = os.environ.get("SLIPWAY_BENCH_CALL", "")
        for call in _calls(facts):
            if only in call.name:
                yield from _compare(call, ours, peer)


@contextmanager
def _slipway(instance: Instance) -> Iterator[Service]:
    instance.process = instance.run("manage.py", "web")
    try:
        instance.answers()
        yield Service("slipway", instance.port, instance.pid)
    finally:
        instance.stop()


@contextmanager
def _peer(url: str, queue: str, folder: Path) -> Iterator[Service]:
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": url.replace("postgres://", "postgresql+asyncpg://"),
        "REDIS_URL": queue,
        "PEER_FOLDER": str(folder),
    }
    command = [str(PYTHON), "-m", "uvicorn", "--app-dir", str(Path(__file__).parent)]
    command += ["--port", str(port), "--log-level", "warning", "--no-access-log", "service:app"]
    with subprocess.Popen(command, env=environment, stdout=sys.stderr) as child:
        try:
            until = time.monotonic() + START_SECONDS
            while not answers(port):
                if child.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the peer did not start")
                time.sleep(0.05)
            yield Service("peer", port, child.pid)
        finally:
            child.terminate()


def _calls(facts: dict[str, str | dict[str, str]]) -> Iterator[Call]:
    keys = facts["keys"]
    assert isinstance(keys, dict)

    def get(path: str, user: str = "user-4") -> Callable[[], bytes]:
        request = f"GET /images/{path} HTTP/1.1\r\nHost: localhost\r\n"
        made = f"{request}Authorization: Bearer {keys[user]}\r\n\r\n".encode()
        return lambda: made

    yield Call("own list of 1,000", get(""))
    yield Call("own list of 1,900", get("", "user-2"))
    yield Call("one by id", get(str(facts["id"])))
    yield Call("one by name", get(str(facts["name"])))
    yield Call("include_public", get("?include_public=true"))
    yield Call("public, page 10,000", get("?include_public=true&page=10000"))
    yield Call("name, common part", get("?include_public=true&name=payments"))
    yield Call("tag, part", get("?include_public=true&tag=v3.15"))
    for name, size in (("1 KiB", 1024), ("1 MiB", 1024 * 1024)):
        yield Call(f"POST {name}", partial(_post, size, keys["user-4"]), 202)


def _post(size: int, key: str) -> bytes:
    values = {
        "wait": "false",
        "username": "user-4",
        "name": f"peer-{uuid.uuid4().hex}",
        "readme": "",
        "logo_id": "__none__",
        "tag": "1",
        "dockerfile": "FROM scratch\n",
        "image": "",
        "public": "false",
    }
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in values.items()
    ]
    head = 'Content-Disposition: form-data; name="build_context"; filename="c.zip"\r\n\r\n'
    parts.append(f"--{BOUNDARY}\r\n{head}".encode())
    body = b"".join([*parts, b"PK\3\4", os.urandom(size), f"\r\n--{BOUNDARY}--\r\n".encode()])
    return (
        f"POST /images/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _compare(call: Call, ours: Service, peer: Service) -> Iterator[Figure]:
    services = (peer, ours)
    took: dict[str, list[float]] = {each.name: [] for each in services}
    cpu = dict.fromkeys(took, 0.0)
    rates: dict[str, list[float]] = {each.name: [] for each in services}
    totals = {}
    for each in services:
        connection = connected(each.port)
        connection.ask(call.made(), call.status)
        totals[each.name] = json.loads(connection.body).get("total")
        connection.socket.close()
    if totals["peer"] != totals["slipway"]:
        raise RuntimeError(f"{call.name}: they do not answer alike: {totals}")
    for _ in range(ROUNDS):
        for each in services:
            for taken, busy in _times(call, each):
                took[each.name] += taken
                cpu[each.name] += busy
    if TARGETS[call.name][1] is not None:
        for _ in range(3):
            for each in services:
                rates[each.name].append(rate(each.port, [call.made()], CLIENTS, SECONDS))
    yield from _figures(call.name, took, rates, cpu)


def _times(call: Call, service: Service) -> Iterator[tuple[Sequence[float], float]]:
    connection = connected(service.port)
    first = connection.ask(call.made(), call.status)
    before = processor_seconds(service.pid)
    count = ASKED if first < SLOW_SECONDS else 5
    found = [connection.ask(call.made(), call.status) for _ in range(count)]
    yield found, processor_seconds(service.pid) - before
    connection.socket.close()


def _figures(
    name: str, took: dict[str, list[float]], rates: dict[str, list[float]], cpu: dict[str, float]
) -> Iterator[Figure]:
    most, least = TARGETS[name]
    p50 = {each: 1000 * statistics.median(times) for each, times in took.items()}
    p99 = {each: 1000 * sorted(times)[int(0.99 * len(times))] for each, times in took.items()}
    cpus = {each: 1000 * cpu[each] / len(took[each]) for each in took}
    for kind, values, target in (("p50", p50, most), ("p99", p99, None), ("cpu", cpus, None)):
        yield from _pair(f"{name}: {kind}", "ms", values, target)
    if rates["peer"]:
        values = {each: statistics.median(found) for each, found in rates.items()}
        yield from _pair(f"{name}: rate", "requests/s", values, least)


def _pair(name: str, unit: str, values: dict[str, float], target: float | None) -> Iterator[Figure]:
    peer = f"peer.{name}"
    yield Figure(name=peer, value=values["peer"], unit=unit)
    yield Figure(
        name=f"slipway.{name}",
        value=values["slipway"],
        unit=unit,
        ratio_to=peer,
        ratio=values["slipway"] / values["peer"] if values["peer"] else None,
        target=target,
    )
