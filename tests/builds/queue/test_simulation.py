"""The turns played through in Python: fairness whatever is queued, and the order that SQL has."""

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builds.conf import BuildSettings
from builds.lifecycle import request_share
from builds.queue.simulation import Ahead, Duration, Line, Owner, Simulation, Slot, Start
from builds.queue.status import QueueView
from builds.worker import ThisWorker
from tests.builds.queue.rows import end, queue, take, took, worker_row

SOME = settings(max_examples=60, deadline=None, database=None)
OWNERS = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 3), st.sampled_from([None, None, 1, 2])),
    min_size=1,
    max_size=6,
)
"""Builds, weight and limit of each."""
SLOTS = st.integers(1, 5)


def simulate(
    owners: list[tuple[int, int, int | None]],
    slots: int,
    *,
    seconds: float = 10.0,
    turns: list[float] | None = None,
    ahead: list[Ahead] | None = None,
) -> list[Start]:
    simulation = Simulation(
        slots=[Slot(classes=frozenset()) for _ in range(slots)],
        owners={
            UUID(int=number): Owner(
                running=0, most=most, weight=weight, turn=turns[number] if turns else 0.0
            )
            for number, (_, weight, most) in enumerate(owners)
        },
        ahead=ahead or [],
        lines=[
            Line(
                id=number,
                owner_id=UUID(int=number),
                resource_class="default",
                waiting=builds,
                precedence=0,
            )
            for number, (builds, _, _) in enumerate(owners)
        ],
        latest_turn=max(turns or [0.0]),
        takes=lambda what, number: Duration(seconds * (1 + number % 3), 1.0),
    )
    return list(simulation.starts())


@given(OWNERS, SLOTS)
@SOME
def test_every_build_starts_once_and_limits_hold(
    owners: list[tuple[int, int, int | None]], slots: int
) -> None:
    starts = simulate(owners, slots)
    found = Counter((each.what.owner_id, each.number) for each in starts)
    assert len(found) == sum(found.values()) == sum(builds for builds, _, _ in owners)
    assert [each.at for each in starts] == sorted(each.at for each in starts)
    for start in starts:
        running = [
            each for each in starts if each.at <= start.at < each.at + 10 * (1 + each.number % 3)
        ]
        assert len(running) <= slots
        most = owners[start.what.owner_id.int][2]
        own = [each for each in running if each.what.owner_id == start.what.owner_id]
        assert most is None or len(own) <= most


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), SLOTS)
@SOME
def test_a_single_build_waits_for_no_more_than_one_of_each_other_owner(
    others: list[int], slots: int
) -> None:
    single = len(others)
    starts = simulate([*((builds, 1, None) for builds in others), (1, 1, None)], slots)
    place = [each.what.owner_id.int for each in starts].index(single)
    before = Counter(each.what.owner_id.int for each in starts[:place])
    assert all(count <= 1 for count in before.values())


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 1, 2]))
@SOME
def test_weights_share_one_slot_and_as_many_as_they_add_up_to(
    first: int, second: int, rounds: int
) -> None:
    both = first + second
    slots = both * rounds or 1
    starts = simulate([(60, first, None), (60, second, None)], slots, seconds=10)[: 8 * both]
    share = sum(each.what.owner_id.int == 0 for each in starts) / len(starts)
    assert abs(share - first / both) < 0.2


@pytest.mark.django_db
@pytest.mark.parametrize("slots", [1, 3])
def test_builds_start_in_the_order_that_was_told(deployment: BuildSettings, slots: int) -> None:
    owners = [UUID(int=number) for number in range(1, 5)]
    worker = ThisWorker()
    for number, owner in enumerate(owners):
        took(owner, 60, 60, 60, 60)
        queue(owner, 3 + number)
    request_share(owners[1], priority=0, weight=2, most_running=None)
    request_share(owners[3], priority=0, weight=1, most_running=1)
    worker_row(worker.name, threads=slots)
    told = list(QueueView.now().forecast.places)
    assert len(told) == 18
    running, started = [], []
    while (build := take(worker)) is not None or running:
        if build is not None:
            running.append(build)
            started.append(build.pk)
        if build is None or len(running) >= slots:
            end(running.pop(0))
    assert started == told
