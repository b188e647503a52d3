"""What the housekeeping of a worker process does at each turn."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from builds import actors
from builds.lifecycle import request_drain, request_pause, request_resume, request_undrain
from builds.models import Build, BuildQuerySet
from builds.models.fleet import Worker
from builds.worker import WORKER
from config import worker
from config.worker import obey, tick
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)


class Consumer:
    """As dramatiq's, which can be told to leave messages where they are."""

    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


def test_a_turn_says_that_the_worker_lives(order: Order) -> None:
    tick()
    first = Worker.objects.get()
    tick()
    assert Worker.objects.get().seen_at > first.seen_at


def test_a_turn_wakes_free_hands_for_builds_that_wait_unless_the_queue_is_paused(
    order: Order, sent: list[Any]
) -> None:
    build = order("echo hello")
    request_pause(by="operator")
    sent.clear()
    tick()
    assert sent == []
    request_resume()
    sent.clear()
    tick()
    assert sent == [build.pk]


def test_a_worker_that_drains_leaves_messages_to_the_others() -> None:
    consumer = Consumer()
    running: Any = SimpleNamespace(consumers={"builds": consumer})
    WORKER.sign_on()
    request_drain(WORKER.name)
    obey(running)
    assert consumer.paused
    request_undrain(WORKER.name)
    obey(running)
    assert not consumer.paused


def test_a_message_is_a_wake_up_call_and_names_no_build(order: Order) -> None:
    first, second = order("echo 1"), order("echo 2")
    actors.build_image.fn(build_id=str(second.pk))
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.started_at is not None
    assert second.started_at is not None
    assert first.started_at < second.started_at


def away(*_: object, **__: object) -> Any:
    raise OperationalError("planted")


def test_a_turn_without_the_database_ends_so_that_leases_come_first_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = []
    monkeypatch.setattr(worker.reaper, "purge", lambda: done.append("purge"))
    monkeypatch.setattr(WORKER, "renew", away)
    worker.tick()
    assert not done
    monkeypatch.setattr(WORKER, "renew", lambda: done.append("renew"))
    worker.tick()
    assert done == ["renew", "purge"]


def test_what_fails_for_another_reason_keeps_nothing_else_from_being_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = []

    def fail() -> None:
        raise ConnectionError("planted")

    monkeypatch.setattr(worker, "resend", fail)
    monkeypatch.setattr(worker.reaper, "purge", lambda: done.append("purge"))
    worker.tick()
    assert done == ["purge"]


def test_a_worker_waits_for_a_database_that_is_away_when_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            monkeypatch.undo()

    monkeypatch.setattr(BuildQuerySet, "running", away)
    monkeypatch.setattr(worker, "sleep", sleep)
    assert worker._alive() == frozenset()
    assert len(slept) == 3
    assert not Build.objects.exists()


def test_a_worker_whose_database_does_not_come_ends_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BuildQuerySet, "running", away)
    monkeypatch.setattr(worker, "BOOT_SECONDS", 0)
    with pytest.raises(SystemExit, match="the database did not answer"):
        worker._alive()
