"""A build that prints five million lines, beside bare buildah that writes them to a file."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.builds import BASE, BUSYBOX, Bare, zipped
from bench.figures import Figure
from bench.logs import until
from tests.instance import Instance, send, watch
from tests.registry import running_registry

LINES = 5_000_000
PAIRS = 3
LINE = "a line of a build that has a lot to say about what it does"
TALK = f"""\
FROM {{base}}
RUN n={{n}}; yes "{LINE}" | head -n {LINES}
"""


def run(folder: Path) -> Iterator[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="slipway-bare-registry-") as there,
        running_registry(Path(there)) as registry,
        Instance(folder / "flood", engine="buildkit") as instance,
    ):
        bare = Bare(Path(tempfile.mkdtemp(prefix="slipway-bare-")), registry)
        bare.folder.chmod(0o755)
        try:
            yield from compare(instance, bare, folder / "bare.log")
        finally:
            bare.remove()


def compare(instance: Instance, bare: Bare, file: Path) -> Iterator[Figure]:
    with instance.client() as client:
        made = send(client, BASE, zipped({"busybox": BUSYBOX}), name="bench-base", public="true")
        lines, status = watch(client, made["image_id"])
        assert status == "built and pushed", lines
        base = f"{instance.registry}/admin/bench-base:1"
        context = zipped({"greeting.txt": b"hello"})
        pairs = []
        for n in range(PAIRS + 1):
            dockerfile = TALK.format(base=base, n=n)
            began = time.monotonic()
            made = send(client, dockerfile, context, name=f"flood-{n}")
            until(client, made["image_id"], lines=LINES, ended=True)
            mine = time.monotonic() - began
            with file.open("wb") as log:
                other = bare.build(dockerfile, "hello", f"{n}", log.fileno())
            with file.open("rb") as printed:
                assert (
                    sum(block.count(b"\n") for block in iter(lambda: printed.read(1 << 20), b""))
                    >= LINES
                )
            if n:  # the first pair pulls the base
                pairs.append((mine, other))
    mine, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    yield Figure(name="logs.flood.bare_buildah", value=other, unit="s")
    yield Figure(
        name="logs.flood.slipway",
        value=mine,
        unit="s",
        ratio_to="logs.flood.bare_buildah",
        ratio=statistics.median(mine / other for mine, other in pairs),
    )
