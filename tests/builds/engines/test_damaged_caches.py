"""Cache images that are overwritten at rest and in mid-build: never a wrong image."""

import hashlib
import json
import os
import random
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from builds.engines.base import EngineBroken
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.settings import EngineSettings
from tests.builds.engines.conftest import Ran, Workshop, drive, listen

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="cache images need root"),
]
CACHE_BYTES = 512 << 20
BLOCK = 4_096
GROUP = 128 << 20
"""A block group of a file system with blocks of 4 KiB."""
STEPS = """FROM BASE
RUN for i in $(seq 300); do echo content $i >/file$i; done; mkdir /d; cp /file* /d/
RUN cat /file* | sha256sum >/sum; ls /d | wc -l >>/sum
"""
LATER = "RUN cat /file* /d/* | sha256sum >>/sum\nRUN sleep 1; cat /sum >/copy; cp -r /d /e\n"


@pytest.fixture
def engine(tuned: Callable[..., BuildKitEngine]) -> BuildKitEngine:
    return tuned(cache_bytes=CACHE_BYTES)


@pytest.fixture
def damaged(workshop: Workshop, engine: BuildKitEngine) -> Workshop:
    workshop.engine = engine
    return workshop


def image_of(settings: EngineSettings, owner: UUID) -> Path:
    return settings.helper_socket.parent.parent / f"helper/{owner}.img"


def content(ran: Ran) -> dict[str, str]:
    """Names of the image's files with the digests of what they hold, without times."""
    found: dict[str, str] = {}
    layout = ran.outcome.layout
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / ran.outcome.digest.removeprefix("sha256:")).read_bytes())
    for layer in manifest["layers"]:
        path = blobs / layer["digest"].removeprefix("sha256:")
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                data = file.read() if file else b""
                found[member.name] = f"{member.mode:o} {hashlib.sha256(data).hexdigest()}"
    return found


def overwrite(image: Path, at: int, size: int, *, noise: bool) -> None:
    made = random.Random(1)
    with image.open("r+b") as file:
        file.seek(at)
        for _ in range(size // BLOCK):
            file.write(made.randbytes(BLOCK) if noise else bytes(BLOCK))


AREAS = {
    "super block": [(0, 2 * BLOCK)],
    "group descriptors": [(BLOCK, BLOCK)],
    "first block group": [(0, 4 << 20)],
    "metadata of a block group": [(BLOCK, 2 << 20)],
    "every block group's beginning": [(n * GROUP, 1 << 20) for n in range(4)],
    "inodes": [(600 << 10, 1 << 20)],
    "everything": [(0, CACHE_BYTES // 2)],
}


@pytest.mark.parametrize("noise", [False, True], ids=["zeros", "noise"])
@pytest.mark.parametrize(
    "area",
    [
        "super block",
        *(pytest.param(each, marks=pytest.mark.long) for each in AREAS if each != "super block"),
    ],
)
def test_a_cache_that_was_damaged_at_rest_gives_the_right_image_or_a_fault_of_ours(
    damaged: Workshop, settings: EngineSettings, area: str, noise: bool
) -> None:
    owner = uuid4()
    right = content(damaged.run(STEPS + LATER))
    damaged.run(STEPS, owner=owner)
    damaged.engine.close()  # type: ignore[attr-defined]
    for at, size in AREAS[area]:
        overwrite(image_of(settings, owner), at, size, noise=noise)
    ran = Ran()
    drive(damaged.engine.build(damaged.spec(STEPS + LATER, owner=owner)), ran)
    assert content(ran) == right
    assert drive(damaged.engine.build(damaged.spec(STEPS + LATER, owner=owner))).outcome.digest


@pytest.mark.long
@pytest.mark.parametrize("noise", [False, True], ids=["zeros", "noise"])
@pytest.mark.parametrize("area", AREAS)
def test_a_cache_that_is_damaged_in_mid_build_gives_the_right_image_or_a_fault_of_ours(
    damaged: Workshop, settings: EngineSettings, area: str, noise: bool
) -> None:
    owner = uuid4()
    waits = STEPS + "RUN echo begun; sleep 1\n" + LATER
    right = content(damaged.run(waits))
    build = damaged.engine.build(damaged.spec(waits, owner=owner))
    listen(build, b"begun")
    for at, size in AREAS[area]:
        overwrite(image_of(settings, owner), at, size, noise=noise)
    with suppress(EngineBroken):  # of our side: a BuildFailed is not expected
        assert content(drive(build)) == right
    damaged.engine.close()  # type: ignore[attr-defined]
    assert content(damaged.run(waits, owner=owner)) == right
