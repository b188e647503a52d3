"""A build that prints five million lines, compared with `docker buildx build` that logs to a
file."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench import other_builders
from bench.builds import greeting, zipped
from bench.figures import Figure
from bench.images import push_busybox
from bench.logs import until
from tests.instance import Instance, send

LINES = 5_000_000
PAIRS = 3
LINE = "a line of a build that has a lot to say about what it does"
TALK = f"""\
FROM BASE
RUN n=NUMBER; yes "{LINE}" | head -n {LINES}
"""


def run(folder: Path) -> Iterator[Figure]:
    with (
        other_builders.running_registry_in(folder) as registry,
        Instance(
            folder / "flood",
            engine="buildkit",
            SLIPWAY_PRIVATE_REGISTRIES=registry,
            SLIPWAY_INSECURE_REGISTRIES=registry,
        ) as instance,
        other_builders.docker() as docker,
    ):
        base = push_busybox(registry, folder / "flood-base")
        yield from compare(instance, docker, base, folder / "docker.log")


def compare(
    instance: Instance, docker: other_builders.Peer, base: str, file: Path
) -> Iterator[Figure]:
    files = greeting("hello")
    with instance.client() as client:
        pairs = []
        for n in range(PAIRS + 1):
            dockerfile = TALK.replace("NUMBER", f"{n}")
            began = time.monotonic()
            text = dockerfile.replace("BASE", base)
            made = send(client, text, zipped(files), name=f"flood-{n}")
            until(client, made["image_id"], lines=LINES, ended=True)
            mine = time.monotonic() - began
            with file.open("wb") as log:
                other = docker.build(dockerfile, files, f"{n}", log.fileno())
            with file.open("rb") as printed:
                assert (
                    sum(block.count(b"\n") for block in iter(lambda: printed.read(1 << 20), b""))
                    >= LINES
                )
            if n:  # the first pair pulls the base image
                pairs.append((mine, other))
    mine, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    yield Figure(name="logs.flood.docker_buildx", value=other, unit="s")
    yield Figure(
        name="logs.flood.slipway",
        value=mine,
        unit="s",
        ratio_to="logs.flood.docker_buildx",
        ratio=statistics.median(mine / other for mine, other in pairs),
    )
