"""Delay from the worker's read of a line to its viewers: one build with many, and many builds."""

import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench.builds import zipped
from bench.crowd import Kind, opened, watch
from bench.figures import Figure
from tests.instance import Instance, send

CONTEXT = zipped({"a.txt": b"a"})
VIEWERS, BUILDS = 500, 100
SECONDS, PER_SECOND = 10, 100
FILES = 8_192
PATIENCE = 300.0
POLLED = "one_polling_reader"
TARGETS = {"p50": 100, "p99": 300}


def run(folder: Path) -> Iterator[Figure]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    with Instance(
        folder / "latency",
        engine="scripted",
        SLIPWAY_DAILY_BUILDS="10000",
        SLIPWAY_WORKERS=str(BUILDS),
    ) as instance:
        bench = Bench(instance, folder)
        yield from bench.polled()
        for kind in ("websocket", "sse"):
            yield from bench.one_build(kind)
        yield from bench.many_builds()


class Bench:
    def __init__(self, instance: Instance, folder: Path) -> None:
        self.instance = instance
        self.folder = folder
        self.key = (instance.data_dir / "admin.key").read_text().strip()
        self.polled_ms: dict[str, float] = {}

    def ordered(self, name: str) -> tuple[str, Path]:
        """A build that waits for a file, then prints ticks."""
        gate = self.folder / f"gate-{name}"
        count = SECONDS * PER_SECOND
        talk = (s for n in range(count) for s in (f"echo tick {n}", f"sleep {1 / PER_SECOND}"))
        run = " ;; ".join([f"until {gate}", *talk])
        with self.instance.client() as client:
            made = send(client, f"FROM scratch\nRUN scripted: {run}\n", CONTEXT, name=name)
        return made["image_id"], gate

    def watched(self, kind: Kind, image_ids: list[str], gates: list[Path]) -> list[float]:
        viewers = opened(kind, self.instance.port, image_ids, self.key)
        time.sleep(1)
        for gate in gates:
            gate.touch()
        delays = watch(viewers, PATIENCE)
        assert len(delays) == len(viewers) * SECONDS * PER_SECOND, len(delays)
        return delays

    def one_build(self, kind: Kind) -> Iterator[Figure]:
        image_id, gate = self.ordered(f"bench-{kind}")
        delays = self.watched(kind, [image_id] * VIEWERS, [gate])
        yield from self.figures(f"{VIEWERS}_viewers.{kind}", delays)

    def many_builds(self) -> Iterator[Figure]:
        made = [self.ordered(f"bench-{n}") for n in range(BUILDS)]
        delays = self.watched("websocket", [each for each, _ in made], [gate for _, gate in made])
        yield from self.figures(f"{BUILDS}_builds", delays)

    def polled(self) -> Iterator[Figure]:
        """Polls each second, as clients of the reference server do."""
        image_id, gate = self.ordered("bench-polled")
        gate.touch()
        line, ended, delays = 0, False, list[float]()
        with self.instance.client() as client:
            while not ended:
                answer = client.get(f"/images/{image_id}/logs/lines?from={line}").json()
                now = time.time()
                rows, ended = answer["lines"], answer["ended"]
                line += len(rows)
                delays += [1000 * (now - row[2] / 1e6) for row in rows if row[1][:5] == "tick "]
                time.sleep(1)
        yield from self.figures(POLLED, sorted(delays))

    def figures(self, name: str, delays: list[float]) -> Iterator[Figure]:
        """From the worker's read of a line to the viewer's read of its last byte."""
        found = {"p50": statistics.median(delays), "p99": delays[int(0.99 * len(delays))]}
        self.polled_ms = self.polled_ms or found
        for share, value in found.items():
            pushed = name != POLLED
            yield Figure(
                name=f"logs.latency.{name}.{share}",
                value=value,
                unit="ms",
                ratio_to=f"logs.latency.{POLLED}.{share}",
                ratio=value / self.polled_ms[share] if pushed else None,
                target=TARGETS[share] if pushed else None,
            )
