"""Which build a worker takes next, and when it takes none."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from builds import runner
from builds.lifecycle import (
    request_drain,
    request_front,
    request_pause,
    request_resume,
    request_undrain,
)
from builds.models import Build
from builds.models.workers import Worker
from builds.queue.status import QueueView
from builds.status import Status
from builds.worker import WORKER, ThisWorker
from tests.conftest import Order
from tests.together import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def taken(worker: ThisWorker = WORKER) -> Build | None:
    """What that worker takes now; it has it no more afterwards, but the build runs on."""
    build_id = worker.next()
    if build_id is None:
        return None
    with worker.claim(build_id) as build:
        return build


def test_builds_are_taken_in_the_order_in_which_they_were_queued(order: Order) -> None:
    builds = [order(f"echo {n}") for n in range(3)]
    assert [taken(), taken(), taken(), taken()] == [*builds, None]


def test_a_build_moved_to_the_front_is_taken_before_all_others(order: Order) -> None:
    first, second, third = (order(f"echo {n}") for n in range(3))
    assert request_front(third)
    third.refresh_from_db()
    assert list(Build.objects.waiting()) == [third, first, second]
    assert request_front(second)
    second.refresh_from_db()
    view = QueueView.now()
    assert [view.position(each.pk) for each in (second, third, first)] == [1, 2, 3]
    assert [taken(), taken(), taken()] == [second, third, first]


def test_a_build_that_runs_is_not_moved_to_the_front(order: Order) -> None:
    build = order("echo hello")
    taken()
    assert not request_front(build)


def test_one_hand_goes_on_until_none_waits(order: Order) -> None:
    for n in range(3):
        order(f"echo {n}")
    assert [runner.run_next() for _ in range(4)] == [True, True, True, False]
    assert set(Build.objects.values_list("status", flat=True)) == {"succeeded"}


def test_each_build_is_taken_by_one_of_many_hands(order: Order) -> None:
    wanted = {order(f"echo {n}").pk for n in range(6)}
    workers = [ThisWorker() for _ in range(4)]

    def take_all(worker: ThisWorker) -> list[Any]:
        mine = []
        while (build_id := worker.next()) is not None:
            with worker.claim(build_id) as build:
                mine += [build.pk] if build else []
        return mine

    found = [pk for mine in at_once(take_all, *workers) for pk in mine]
    assert len(found) == len(wanted)
    assert set(found) == wanted
    assert set(Build.objects.values_list("fence", flat=True)) == {1}


def test_a_paused_queue_gives_no_build_to_anybody_until_it_goes_on(
    order: Order, sent: list[Any]
) -> None:
    build = order("echo hello")
    assert request_pause(by="operator")
    assert not request_pause(by="somebody else")
    assert taken() is None
    assert not runner.run(build.pk)
    sent.clear()
    assert request_resume()
    assert sent == [build.pk]
    assert not request_resume()
    assert sent == [build.pk]
    assert taken() == build


def test_what_runs_when_the_queue_is_paused_goes_on(order: Order) -> None:
    build = order("echo hello")
    with WORKER.claim(build.pk) as mine:
        assert mine is not None
        request_pause(by="operator")
        WORKER.renew()
        assert Build.objects.held_by(mine).move(Status.PUSHING) == 1


def test_a_worker_that_drains_takes_nothing_and_others_do(order: Order, sent: list[Any]) -> None:
    build = order("echo hello")
    WORKER.sign_on()
    assert request_drain(WORKER.name)
    assert not request_drain(WORKER.name)
    assert WORKER.draining()
    assert taken() is None
    assert not runner.run(build.pk)
    sent.clear()
    assert request_undrain(WORKER.name)
    assert not request_undrain(WORKER.name)
    assert sent == [build.pk]
    request_drain(WORKER.name)
    assert taken(ThisWorker()) == build


def test_nobody_drains_a_worker_that_is_gone(order: Order) -> None:
    assert not request_drain("nobody:1:00")


def test_resuming_wakes_every_hand_once(order: Order, sent: list[Any]) -> None:
    for n in range(5):
        order(f"echo {n}")
    ThisWorker().sign_on()
    ThisWorker().sign_on()
    request_pause(by="operator")
    sent.clear()
    request_resume()
    assert len(sent) == 4


def test_a_worker_says_that_it_lives_and_keeps_its_switch() -> None:
    worker = ThisWorker()
    worker.sign_on()
    row = Worker.objects.get()
    assert (row.name, row.host, row.threads) == (worker.name, worker.host, 2)
    assert row.name.startswith(f"{row.host}:{row.pid}:")
    request_drain(worker.name)
    Worker.objects.update(seen_at=timezone.now() - timedelta(seconds=30))
    assert Worker.objects.with_silence().get().silent
    assert not Worker.objects.alive()
    worker.sign_on()
    row = Worker.objects.with_silence().get()
    assert not row.silent
    assert row.draining


def test_workers_that_ended_vanish_at_once_and_those_that_died_after_a_while() -> None:
    one, other, dead = ThisWorker(), ThisWorker(), ThisWorker()
    for each in (one, other, dead):
        each.sign_on()
    Worker.objects.filter(pk=dead.name).update(seen_at=timezone.now() - timedelta(minutes=11))
    one.sign_on()
    other.sign_off()
    assert [each.name for each in Worker.objects.all()] == [one.name]
