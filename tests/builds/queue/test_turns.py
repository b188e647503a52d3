"""Whose turn it is: turns by what owners run and ran, limits, weights, priorities, classes."""

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from builds import queue_triggers
from builds.conf import BuildSettings
from builds.lifecycle import request_front, request_share
from builds.models import Build, QueueLine, QueueOwner
from builds.queue.turns import ready_builds
from builds.worker import ThisWorker
from tests.builds.queue.rows import counted, end, kept, queue, take
from tests.together import at_once

pytestmark = pytest.mark.django_db

MANY, ONE = UUID(int=1), UUID(int=2)


@pytest.fixture
def worker(deployment: BuildSettings) -> ThisWorker:
    return ThisWorker()


def share(owner: UUID, *, priority: int = 0, weight: int = 1, most: int | None = None) -> None:
    request_share(owner, priority=priority, weight=weight, most_running=most)


def served(worker: ThisWorker, slots: int, builds: int) -> list[UUID]:
    """The owners of so many builds in the order in which they start; the oldest ends first."""
    running: list[Build] = []
    owners = []
    for _ in range(builds):
        if len(running) >= slots:
            end(running.pop(0))
        build = take(worker)
        if build is None:
            break
        running.append(build)
        owners.append(build.owner_id)
    return owners


@pytest.mark.parametrize("slots", [1, 3])
def test_a_single_build_waits_for_one_of_anothers_forty_at_most(
    worker: ThisWorker, slots: int
) -> None:
    queue(MANY, 40)
    served(worker, slots, 5)
    running = list(Build.objects.running())
    queue(ONE)
    end(running[0])
    first = take(worker)
    assert first is not None
    assert first.owner_id == ONE


def test_who_built_before_waits_no_longer_than_one_build_either(worker: ThisWorker) -> None:
    queue(ONE, 4)
    assert served(worker, 1, 4) == [ONE] * 4
    end(Build.objects.running().get())
    queue(MANY, 40)
    queue(ONE)
    assert ONE in served(worker, 1, 2)


def test_slots_are_shared_however_long_builds_take(worker: ThisWorker) -> None:
    """One owner's builds never end, the other's end at once."""
    queue(MANY, 20)
    queue(ONE, 20)
    held: list[Build] = []
    for _ in range(12):
        build = take(worker)
        assert build is not None
        if build.owner_id == ONE:
            end(build)
        elif (held := [*held, build]) and len(held) + 1 > 4:
            pytest.fail("the long builds have all slots")
        if len(held) == 3:
            break
    assert served(worker, 1, 6) == [ONE] * 6


@pytest.mark.parametrize("slots", [1, 3, 6])
def test_an_owner_of_twice_the_weight_gets_twice_as_much(worker: ThisWorker, slots: int) -> None:
    queue(MANY, 20)
    queue(ONE, 20)
    share(MANY, weight=2)
    found = Counter(served(worker, slots, 18))
    assert abs(found[MANY] - 12) <= 1


def test_the_limit_of_an_owner_holds_and_others_go_on(
    worker: ThisWorker, settings: Any, deployment: BuildSettings
) -> None:
    settings.BUILDS = replace(deployment, owner_builds=2)
    queue(MANY, 5)
    assert [take(worker) is not None for _ in range(3)] == [True, True, False]
    assert ready_builds(worker.name, most=5) == []
    [single] = queue(ONE)
    assert take(worker) == single
    share(MANY, most=3)
    assert take(worker) is not None
    assert take(worker) is None
    share(ONE, most=0)
    queue(ONE)
    assert take(worker) is None


def test_higher_priorities_go_first(worker: ThisWorker) -> None:
    low, high = uuid4(), uuid4()
    for owner, priority in ((low, -1), (MANY, 0), (high, 1)):
        queue(owner, 2)
        share(owner, priority=priority)
    assert served(worker, 9, 6) == [high, high, MANY, MANY, low, low]


def test_what_was_moved_to_the_front_ignores_turns_and_limits(worker: ThisWorker) -> None:
    builds = queue(MANY, 3)
    share(MANY, most=1)
    queue(ONE)
    assert take(worker) == builds[0]
    assert request_front(builds[2])
    assert take(worker) == builds[2]
    assert kept() == counted()


def test_what_is_tried_again_has_had_its_turn(worker: ThisWorker) -> None:
    due, later = timezone.now() - timedelta(seconds=1), timezone.now() + timedelta(hours=1)
    queue(MANY, 2)
    [again] = queue(ONE, not_before=due)
    queue(ONE, not_before=later)
    before = QueueOwner.objects.get(pk=ONE).turn
    assert take(worker) == again
    assert QueueOwner.objects.get(pk=ONE).turn == before
    assert served(worker, 9, 9) == [MANY, MANY]


def test_a_worker_takes_only_classes_that_it_names(
    worker: ThisWorker, settings: Any, deployment: BuildSettings
) -> None:
    settings.BUILDS = replace(deployment, worker_classes=("small", "large"))
    queue(MANY, 2)
    [large] = queue(MANY, resource_class="large")
    [small] = queue(ONE, resource_class="small", not_before=timezone.now() - timedelta(seconds=1))
    assert {*ready_builds(worker.name, classes=("small", "large"), most=9)} == {large.pk, small.pk}
    assert [take(worker), take(worker), take(worker)] == [small, large, None]
    assert not _claims(worker, queue(ONE)[0])


def _claims(worker: ThisWorker, build: Build) -> bool:
    with worker.claim(build.pk) as found:
        return found is not None


def test_no_credit_is_saved_while_nothing_waits(worker: ThisWorker) -> None:
    queue(ONE)
    served(worker, 1, 1)
    queue(MANY, 15)
    served(worker, 1, 8)
    queue(ONE, 6)
    found = Counter(served(worker, 1, 6))
    assert abs(found[ONE] - 3) <= 1


def test_lines_and_running_builds_stay_true_whatever_happens(worker: ThisWorker) -> None:
    chance = random.Random(13)
    owners = [uuid4() for _ in range(3)]
    for _ in range(40):
        builds = list(Build.objects.exclude(status="succeeded"))
        what = chance.choice(["queue", "take", "end", "cancel", "front", "remove", "share"])
        if what == "queue" or not builds:
            queue(chance.choice(owners), resource_class=chance.choice(["default", "large"]))
        elif what == "take":
            take(worker)
        elif what == "share":
            share(chance.choice(owners), weight=chance.randint(1, 3))
        else:
            build = chance.choice(builds)
            rows = Build.objects.filter(pk=build.pk)
            if what == "front":
                rows.filter(status="queued").update(front=chance.choice([-1, 0]))
            elif what == "remove":
                rows.delete()
            else:
                rows.update(status={"end": "failed", "cancel": "cancelled"}[what])
        assert kept() == counted()
    for line in QueueLine.objects.select_related("owner"):
        assert line.turn == line.owner.turn
        assert line.load == line.owner.running / line.owner.weight


def test_missing_triggers_are_made_again_and_all_is_counted(worker: ThisWorker) -> None:
    from django.db import connection  # noqa: PLC0415

    queue_triggers.remove(connection)
    queue(MANY, 2)
    queue(ONE, status="building")
    assert kept() == ({}, {})
    queue_triggers.install(connection)
    assert kept() == counted()
    queue(ONE)
    assert kept() == counted()


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_take_each_build_once_and_never_more_than_the_limit(
    settings: Any, deployment: BuildSettings
) -> None:
    settings.BUILDS = replace(deployment, owner_builds=2)
    owners = [uuid4() for _ in range(3)]
    for owner in owners:
        queue(owner, 4)
    # Of different kinds, so that workers look at different builds of one owner.
    queue(owners[0], 2, not_before=timezone.now() - timedelta(seconds=1))

    def take_all(worker: ThisWorker) -> list[UUID]:
        return [build.pk for _ in range(6) if (build := take(worker)) is not None]

    found = [pk for mine in at_once(take_all, *(ThisWorker() for _ in range(4))) for pk in mine]
    assert len(found) == len(set(found))
    running = Counter(Build.objects.running().values_list("owner_id", flat=True))
    assert running == dict.fromkeys(owners, 2)
    assert kept() == counted()
