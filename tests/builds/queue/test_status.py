"""What is told of builds that wait: place, reasons, estimate."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds.lifecycle import request_drain, request_front, request_pause, request_share
from builds.models import Build, QueueOwner, Worker
from builds.queue import forecast
from builds.queue import status as queue_status
from builds.queue.reasons import CODES, STANDSTILL
from builds.queue.status import QueueStatus, queue_statuses
from common.humanize import within
from tests.builds.queue.rows import queue, took, worker_row

pytestmark = pytest.mark.django_db

MANY, ONE = UUID(int=1), UUID(int=2)


def status(build: Build) -> QueueStatus:
    return queue_statuses([build.pk])[build.pk]


def codes(build: Build) -> list[str]:
    return [each.code for each in status(build).reasons]


def runs(owner: UUID, worker: str = "host:1:aa", seconds: float = 0) -> Build:
    started = timezone.now() - timedelta(seconds=seconds)
    [build] = queue(owner, status="building", worker=worker, started_at=started)
    return build


def test_places_are_those_of_the_turns() -> None:
    worker_row()
    runs(MANY)
    QueueOwner.objects.update(turn=1)
    many, [single] = queue(MANY, 3), queue(ONE)
    found = queue_statuses([each.pk for each in (*many, single)])
    assert [found[each.pk].position for each in (single, *many)] == [1, 2, 3, 4]
    request_front(many[2])
    assert status(many[2]).position == 1


def quarantine() -> None:
    worker_row(quarantined_at=timezone.now(), quarantine_reason="disk: it is full")


def drain() -> None:
    request_drain(worker_row().name)


def pause() -> None:
    worker_row()
    request_pause(by="keeper")


@pytest.mark.parametrize(
    ("arrange", "code", "detail"),
    [
        (lambda: None, "no-worker", "Start one."),
        (quarantine, "quarantined", "disk: it is full"),
        (drain, "draining", "drain"),
        (pause, "paused", "keeper"),
        (lambda: worker_row(resource_classes=["large"]), "no-worker-for-class", ""),
    ],
)
def test_nothing_is_promised_while_nothing_moves(
    arrange: Callable[[], object], code: str, detail: str
) -> None:
    took(ONE, 10, 10, 10, 10)
    arrange()
    [build] = queue(ONE)
    found = status(build)
    assert found.reasons[0].code == code
    assert detail in found.reasons[0].detail
    assert "keeper" not in found.reasons[0].text
    assert "disk" not in found.reasons[0].text
    assert found.estimate is None
    assert "starts" not in found.text
    assert found.position == (None if code == "no-worker-for-class" else 1)


def test_a_free_worker_takes_it_within_seconds_and_a_busy_one_does_not() -> None:
    worker_row()
    [first, second] = queue(ONE, 2)
    assert codes(first) == ["starting"]
    assert status(first).text == "next in the queue, starts within 1 min"
    # Nothing is known of how long builds take.
    assert (codes(second), status(second).estimate) == (["busy"], None)
    runs(MANY)
    assert codes(first) == ["busy"]


def test_a_full_owner_is_told_so_and_so_is_one_who_may_run_nothing() -> None:
    worker_row(threads=3)
    took(ONE, 60, 60, 60, 60)
    request_share(ONE, priority=0, weight=1, most_running=1)
    runs(ONE, seconds=20)
    [build] = queue(ONE)
    found = status(build)
    assert [each.code for each in found.reasons] == ["owner-limit"]
    assert "1 build running" in found.reasons[0].text
    assert found.estimate is not None
    assert found.estimate.low < 40 < found.estimate.high
    request_share(ONE, priority=0, weight=1, most_running=0)
    found = status(build)
    assert (found.position, found.estimate) == (None, None)
    assert found.reasons[0].text == "No build of its owner may run now."


def test_what_is_tried_again_says_why_and_when() -> None:
    worker_row()
    due = timezone.now() + timedelta(seconds=300)
    [build] = queue(ONE, not_before=due, waiting_for="waiting for the registry: no answer")
    took(MANY, 10, 10, 10)
    found = status(build)
    assert found.reasons[0].code == "retry"
    told = "Waiting for the registry: no answer; it is tried again in "
    assert found.reasons[0].text.startswith(told)
    assert found.estimate is not None
    assert 200 < found.estimate.low <= found.estimate.high <= 300


def test_an_estimate_is_made_of_what_the_image_then_the_owner_then_all_took() -> None:
    worker_row()
    image = uuid4()
    took(uuid4(), 1_000, 1_000, 1_000, 1_000)
    running = runs(ONE, seconds=5)
    [build] = queue(ONE)

    def expected() -> float:
        estimate = status(build).estimate
        assert estimate is not None
        return (estimate.low + estimate.high) / 2

    assert expected() == pytest.approx(995, rel=0.01)
    took(ONE, 100, 100, 100, 100)
    assert expected() == pytest.approx(95, rel=0.05)
    Build.objects.filter(pk=running.pk).update(image_id=image, number=7)
    took(ONE, 20, 20, image_id=image)
    assert expected() == pytest.approx(15, rel=0.1)


def test_a_build_that_takes_longer_than_all_before_makes_no_hope() -> None:
    worker_row()
    took(ONE, 10, 10, 10, 10)
    runs(ONE, seconds=1_000)
    [build] = queue(ONE)
    estimate = status(build).estimate
    assert estimate is not None
    assert (estimate.low + estimate.high) / 2 >= 400


def test_far_back_no_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "PLACES", 3)
    worker_row()
    builds = queue(ONE, 4)
    found = queue_statuses([each.pk for each in builds])
    assert [found[each.pk].position for each in builds] == [1, 2, 3, None]
    assert found[builds[3].pk].text == "in the queue"


def test_only_builds_that_wait_have_a_status_and_nothing_costs_nothing(
    django_assert_num_queries: Any,
) -> None:
    build = runs(ONE)
    with django_assert_num_queries(1):
        assert queue_statuses([build.pk]) == {}
    with django_assert_num_queries(0):
        assert queue_statuses([]) == {}


def test_as_many_queries_for_many_builds_as_for_one() -> None:
    worker_row()
    took(ONE, 10, 10, 10, 10)
    asked = []
    for _ in range(2):
        builds = [*queue(MANY, 5), *queue(ONE, 5), *queue(uuid4(), 2, front=-1)]
        with CaptureQueriesContext(connection) as queries:
            queue_statuses([each.pk for each in builds])
        asked.append(len(queries))
    assert asked[0] == asked[1] <= 11


def test_a_view_is_shared_until_it_is_old_and_made_anew_for_builds_that_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(queue_status, "monotonic", lambda: clock[0])
    monkeypatch.setattr(queue_status, "SHARED_SECONDS", 1.0)
    views = queue_status.SharedView()
    worker_row()
    [first] = queue(ONE)
    view = views.get()
    clock[0] += 0.9
    assert views.get(first.queued_at) is view
    [second] = queue(ONE, queued_at=timezone.now())
    again = views.get(second.queued_at)
    assert [again.position(each.pk) for each in (first, second)] == [1, 2]
    assert views.get(second.queued_at) is again
    clock[0] += 1
    assert views.get() is not again


def test_nobody_waits_for_a_view_that_another_thread_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(queue_status, "monotonic", lambda: clock[0])
    monkeypatch.setattr(queue_status, "SHARED_SECONDS", 1.0)
    views = queue_status.SharedView()
    view = views.get()
    with views._making:
        clock[0] += 1.5
        assert views.get() is view
        clock[0] += 1
        assert views.get() is not view


def test_dead_workers_give_no_hope() -> None:
    worker_row()
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=2))
    [build] = queue(ONE)
    assert codes(build) == ["no-worker"]
    assert {"no-worker"} <= STANDSTILL <= {*CODES}


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0, 10, "within 1 min"),
        (30, 110, "within 2 min"),
        (61, 119, "in 1 to 2 min"),
        (180, 420, "in 3 to 7 min"),
        (120, 120, "in 2 to 3 min"),
        (3_000, 9_000, "within 3 h"),
        (7_200, 10_000, "in 2 to 3 h"),
    ],
)
def test_ranges_are_told_in_words(low: float, high: float, text: str) -> None:
    assert within(low, high) == text
