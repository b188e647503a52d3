"""From POST to "built and pushed", compared with the same builds by programs used directly.

Each round builds with Slipway and with each peer in turn, so that both have the same load.
Everything is warm: the base image is there, and the builder or daemon runs.
"""

import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zipfile import ZipFile

from bench import other_builders
from bench.figures import Figure
from bench.images import push_busybox, push_large
from bench.processes import descendants, shared_memory_mb
from tests.instance import Instance, send, watch

ROUNDS = 11
SLOW_ROUNDS = 4
OWNERS = 9
"""One more than the number of builders that stay warm with four workers."""
BUILT = "built and pushed"
TARGETS = {"docker_buildx": 1.5, "bare_buildah": 0.8}
TINY = """\
FROM BASE
ENV GREETING=hello
WORKDIR /app
COPY greeting.txt .
RUN cat greeting.txt > copy.txt
CMD ["cat", "/app/copy.txt"]
"""
NODE_LIKE = """\
FROM BASE
ENV NODE_ENV=production
WORKDIR /app
COPY package.json ./
RUN --mount=type=cache,target=/root/.npm \\
    --mount=type=bind,source=packages.tar,target=/tmp/packages.tar \\
    { [ -e /root/.npm/0 ] || tar -xf /tmp/packages.tar -C /root/.npm; } \\
    && cp -r /root/.npm node_modules && cat package.json > node_modules/.lock
COPY src src
RUN mkdir dist && cat src/* node_modules/* | sha256sum > dist/bundle.js
RUN test -s dist/bundle.js
EXPOSE 3000
CMD ["cat", "dist/bundle.js"]
"""
PACKAGE_FILES, PACKAGE_BYTES = 2_000, 4_096


def zipped(files: Mapping[str, bytes | Path]) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name, content in files.items():
            if isinstance(content, Path):
                archive.write(content, name)
            else:
                archive.writestr(name, content)
    return file.getvalue()


def greeting(text: str) -> dict[str, bytes]:
    return {"greeting.txt": text.encode()}


def package(n: int) -> dict[str, bytes]:
    """A project whose dependencies and sources differ for every number."""
    sources = {f"src/{name}.js": f"{name} {n}\n".encode() * 100 for name in range(50)}
    return {"package.json": b'{"version": %d}' % n, "packages.tar": packages(), **sources}


@cache
def packages() -> bytes:
    """The files that a package registry would send."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for n in range(PACKAGE_FILES):
            info = tarfile.TarInfo(f"{n}")
            info.size = PACKAGE_BYTES
            archive.addfile(info, io.BytesIO(os.urandom(PACKAGE_BYTES)))
    return file.getvalue()


@dataclass
class Owner:
    """A user who builds with Slipway."""

    instance: Instance
    name: str
    base: str
    key: str | None = None

    def build(self, dockerfile: str, files: Mapping[str, bytes], tag: str) -> float:
        """Returns seconds. BASE in the Dockerfile is the owner's base image."""
        context = zipped(files)
        with self.instance.client(self.key) as client:
            began = time.monotonic()
            made = send(
                client,
                dockerfile.replace("BASE", self.base),
                context,
                username=self.name,
                name="bench",
                tag=tag,
            )
            lines, status = watch(client, made["image_id"])
            took = time.monotonic() - began
        assert status == BUILT, lines
        return took


def run(instance: Instance, registry: str) -> Iterator[Figure]:
    """`registry` has the base images; the instance may fetch from it."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-images-") as folder:
        small = Path(folder, "small")
        busybox = push_busybox(registry, small)
        admin = Owner(instance, "admin", busybox)
        yield Figure(
            name="build.first",
            value=1000 * admin.build(TINY, greeting("first"), "first"),
            unit="ms",
        )
        yield Figure(name="builder.memory", value=builder_memory_mb(instance), unit="MiB")
        with ExitStack() as stack:
            others: list[other_builders.Peer] = [stack.enter_context(other_builders.docker())]
            buildah = stack.enter_context(other_builders.buildah(busybox))
            if buildah is not None:
                others.append(buildah)
            else:
                yield Figure(name="build.warm.bare_buildah", note="skipped: no buildah")
            yield from compare(admin, others)
            yield from node_like(admin, others[0])
            yield Figure(name="builder.memory.used", value=builder_memory_mb(instance), unit="MiB")
        owners = [new_owner(instance, f"owner-{n}", busybox) for n in range(OWNERS)]
        yield from cold(owners)
        yield from at_once(owners)
        large = push_large(registry, small, Path(folder, "large"))
        yield from large_base(owners, large)


def new_owner(instance: Instance, name: str, base: str) -> Owner:
    instance.manage("create_user", name)
    return Owner(instance, name, base, instance.manage("create_api_key", name).strip())


def compare(admin: Owner, others: Sequence[other_builders.Peer]) -> Iterator[Figure]:
    """The tiny build: with one changed file, without a change, and on an own base image."""
    own = Owner(admin.instance, "admin", f"{admin.instance.registry}/admin/bench:first")
    for kind, owner, text in (
        ("warm", admin, "unlike the others {n}"),
        ("cached", admin, "always the same"),
        ("own_base", own, "once more unlike {n}"),
    ):
        builders: list[other_builders.Builds] = [owner, *others]
        for each in builders:
            each.build(TINY, greeting(text.format(n="warm")), f"{kind}-warm")
        rounds = []
        for n in range(ROUNDS):
            files = greeting(text.format(n=n))
            rounds.append([each.build(TINY, files, f"{kind}{n}") for each in builders])
        ours, *theirs = (statistics.median(each) for each in zip(*rounds, strict=True))
        for at, other in enumerate(others):
            ratio = statistics.median(times[0] / times[at + 1] for times in rounds)
            yield Figure(name=f"build.{kind}.{other.name}", value=1000 * theirs[at], unit="ms")
            yield Figure(
                name=f"build.{kind}.slipway",
                value=1000 * ours,
                unit="ms",
                ratio_to=f"build.{kind}.{other.name}",
                ratio=ratio,
                target_ratio=TARGETS[other.name] if kind == "warm" else None,
            )


def node_like(admin: Owner, docker: other_builders.Peer) -> Iterator[Figure]:
    """Ten instructions with a cache of packages: the first time, then with everything changed."""
    builders: list[other_builders.Builds] = [admin, docker]
    first = [each.build(NODE_LIKE, package(0), "node0") for each in builders]
    rounds = [
        [each.build(NODE_LIKE, package(n), f"node{n}") for each in builders]
        for n in range(1, SLOW_ROUNDS + 1)
    ]
    for name, pairs in (("first", [first]), ("again", rounds)):
        ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
        yield Figure(name=f"build.node_like.{name}.{docker.name}", value=1000 * theirs, unit="ms")
        yield Figure(
            name=f"build.node_like.{name}.slipway",
            value=1000 * ours,
            unit="ms",
            ratio_to=f"build.node_like.{name}.{docker.name}",
            ratio=statistics.median(mine / other for mine, other in pairs),
        )


def cold(owners: Sequence[Owner]) -> Iterator[Figure]:
    """Builds that have to start a builder: the first of a new owner, and one with a cache."""
    for name, tag in (("new_owner", "new"), ("cold", "cold")):
        times = [each.build(TINY, greeting(f"{tag} {each.name}"), tag) for each in owners]
        yield Figure(name=f"build.{name}", value=1000 * statistics.median(times), unit="ms")


def at_once(owners: Sequence[Owner]) -> Iterator[Figure]:
    """Four builds at once, until the last has ended, compared with one alone."""
    sets = {"four_owners": owners[:4], "one_owner": [owners[0]] * 4}
    with ThreadPoolExecutor(4) as pool:
        for name, four in sets.items():

            def start(n: int, four: Sequence[Owner] = four, name: str = name) -> float:
                began = time.monotonic()
                running = [
                    pool.submit(each.build, TINY, greeting(f"{name} {n} {at}"), f"{name}.{n}.{at}")
                    for at, each in enumerate(four)
                ]
                for each in running:
                    each.result()
                return time.monotonic() - began

            start(0)
            rounds = [
                (start(n), four[0].build(TINY, greeting(f"{name} alone {n}"), f"{name}.{n}"))
                for n in range(1, SLOW_ROUNDS + 1)
            ]
            together, alone = (statistics.median(each) for each in zip(*rounds, strict=True))
            yield Figure(name=f"build.alone.{name}", value=1000 * alone, unit="ms")
            yield Figure(
                name=f"build.four_at_once.{name}",
                value=1000 * together,
                unit="ms",
                ratio_to=f"build.alone.{name}",
                ratio=statistics.median(four / one for four, one in rounds),
            )


def large_base(owners: Sequence[Owner], large: str) -> Iterator[Figure]:
    """A base image of 1 GiB: fetched; already fetched for another owner; already in the owner's
    cache."""
    first, second = (Owner(each.instance, each.name, large, each.key) for each in owners[:2])
    for name, owner in (("first", first), ("second_owner", second), ("warm", second)):
        took = owner.build(TINY, greeting(name), f"large-{name}")
        yield Figure(name=f"build.large_base.{name}", value=1000 * took, unit="ms")


def builder_memory_mb(instance: Instance) -> float:
    """The memory of the daemons of all warm builders, divided by their number."""
    running = descendants(instance.pid)
    daemons = [pid for pid, name in running.items() if name in {"dockerd", "containerd"}]
    count = sum(running[pid] == "dockerd" for pid in daemons)
    assert count, "no builder is warm"
    return sum(map(shared_memory_mb, daemons)) / count
