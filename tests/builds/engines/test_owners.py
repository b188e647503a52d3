"""Builds of many owners and of one owner at once, each with its own cache."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.settings import EngineSettings
from tests.builds.engines.conftest import Ran, Workshop
from tests.faults.traces import Traces

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="cache images need root"),
]
OWNERS = 12
SLOTS = 2


@pytest.fixture
def two_slots(workshop: Workshop, tuned: Callable[..., BuildKitEngine]) -> Workshop:
    """An engine for two builds at once, with no builders of other tests beside it."""
    with suppress(AttributeError):
        workshop.engine.close()  # type: ignore[attr-defined]
    workshop.engine = tuned(slots=SLOTS, cache_bytes=512 << 20)
    return workshop


def test_two_builds_of_one_owner_run_side_by_side(
    two_slots: Workshop, settings: EngineSettings
) -> None:
    owner = uuid4()
    meeting = threading.Barrier(2)
    traces = Traces(settings.root.parent)

    def build(number: int) -> Ran:
        spec = two_slots.spec(
            f"FROM BASE\nRUN ONCE; echo {number} >/x; sleep 1; cat /x\n", owner=owner
        )
        meeting.wait(30)
        return two_slots.build(spec)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(build, (1, 2))
    assert (first.stdout, second.stdout) == (b"1\n", b"2\n")
    assert first.outcome.digest != second.outcome.digest
    caches = {path.name for path in (settings.root.parent / "helper").glob(f"{owner}*.img")}
    assert caches == {f"{owner}.img", f"{owner}-1.img"}
    # The next one finds a builder that is warm, and what it has built.
    assert two_slots.run("FROM BASE\nRUN echo warm\n", owner=owner).outcome.digest
    assert len([loop for loop in traces.loops() if str(owner) in loop]) == 2


@pytest.mark.long
def test_twelve_owners_on_two_slots_build_apart_and_leave_no_more_than_is_kept_warm(
    two_slots: Workshop, settings: EngineSettings
) -> None:
    owners = [uuid4() for _ in range(OWNERS)]
    traces = Traces(settings.root.parent)
    secret = "RUN --mount=type=cache,id=shared,target=/c ls /c; echo {} >/c/{}\n"

    def build(owner: UUID) -> list[Ran]:
        text = "FROM BASE\n" + secret.format(owner, owner) + "RUN ONCE; cat /proc/self/uid_map\n"
        return [two_slots.run(text, owner=owner) for _ in range(2)]

    with ThreadPoolExecutor(SLOTS) as threads:
        ran = dict(zip(owners, threads.map(build, owners), strict=True))
    for owner, (first, second) in ran.items():
        others = [str(each) for each in owners if each != owner]
        assert not any(each in first.said + second.said for each in others)
        assert (2, "cached") in second.states
    kept = [each for each in traces.processes() if each.name == "dockerd"]
    assert len(kept) <= 2 * SLOTS
    assert len(traces.loops()) == len(kept)
    assert isinstance(two_slots.engine, BuildKitEngine)
    two_slots.engine.close()
    traces_left = [each for each in traces.processes() if each.name == "dockerd"]
    assert (traces_left, traces.loops(), traces.mounts()) == ([], [], [])
