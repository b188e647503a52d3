"""What the housekeeping of a worker process does at each turn."""

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest
from django.db import OperationalError
from django.utils import timezone
from dramatiq.brokers.stub import StubBroker

from builds import actors
from builds.lifecycle import request_drain, request_pause, request_resume, request_undrain
from builds.models import Build, BuildQuerySet
from builds.models.workers import Worker
from builds.status import Status
from builds.worker import WORKER
from config import worker
from config.worker import beat, obey, rescue
from startup import data_directory
from tests.conftest import Order, stand

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
    beat()
    first = Worker.objects.get()
    beat()
    assert Worker.objects.get().seen_at > first.seen_at


def test_what_a_dead_worker_of_the_same_data_directory_held_is_taken_over_at_once(
    order: Order, sent: list[Any], settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    mine, others = order("echo mine"), order("echo others")
    later = timezone.now() + timedelta(seconds=15)
    for build, name in ((mine, "here:1:aa"), (others, "there:1:bb")):
        standing = {"fence": 1, "worker": name, "lease_until": later}
        stand(Build.objects.filter(pk=build.pk), Status.BUILDING, **standing)
    data_directory.register("here:1:aa")
    worker.take_over()
    mine.refresh_from_db()
    assert mine.state is Status.BUILDING
    data_directory.retire_workers()
    sent.clear()
    worker.take_over()
    mine.refresh_from_db()
    others.refresh_from_db()
    assert (mine.state, others.state) == (Status.LOST, Status.BUILDING)
    successor = Build.objects.get(image_id=mine.image_id, number=2)
    assert sent == [successor.pk]
    assert data_directory.gone() == []


def test_a_turn_wakes_free_hands_for_builds_that_wait_unless_the_queue_is_paused(
    order: Order, sent: list[Any]
) -> None:
    build = order("echo hello")
    request_pause(by="operator")
    sent.clear()
    rescue()
    assert sent == []
    request_resume()
    sent.clear()
    rescue()
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


def test_a_turn_without_the_database_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(worker, "make_room", lambda: done.append("make room"))
    monkeypatch.setattr(worker.reaper, "purge", away)
    worker.tick()
    assert not done


def test_leases_are_renewed_and_builds_rescued_while_the_housekeeping_is_busy(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.BUILDS = replace(settings.BUILDS, tick_seconds=0.01)
    stuck, let_go = threading.Event(), threading.Event()
    renewed, rescued = threading.Semaphore(0), threading.Semaphore(0)

    def tidy() -> None:
        stuck.set()
        let_go.wait(20)

    monkeypatch.setattr(WORKER, "stopping", threading.Event())
    monkeypatch.setattr(WORKER, "renew", renewed.release)
    monkeypatch.setattr(WORKER, "sign_on", lambda: None)
    monkeypatch.setattr(worker, "keep_measuring", lambda helper: None)
    monkeypatch.setattr(worker, "keep_errors", lambda: None)  # for the life of the process
    monkeypatch.setattr(worker, "rescue", rescued.release)
    monkeypatch.setattr(worker.WORKER_CHECKS, "fit", lambda: True)
    monkeypatch.setattr(worker, "obey", lambda _: None)
    monkeypatch.setattr(worker, "tick", tidy)
    running = dramatiq.Worker(StubBroker(middleware=[]), worker_threads=8)
    worker.Housekeeping().before_worker_boot(running.broker, running)
    try:
        assert running.worker_threads == WORKER.threads == 2
        assert stuck.wait(20)
        for _ in range(3):
            assert renewed.acquire(timeout=20)
            assert rescued.acquire(timeout=20)
    finally:
        WORKER.stopping.set()
        let_go.set()
        for thread in threading.enumerate():
            if thread.name in {"leases", "rescue", "housekeeping", "strays", "checks"}:
                thread.join(20)


def test_what_fails_for_another_reason_keeps_nothing_else_from_being_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = []

    def fail() -> None:
        raise ConnectionError("planted")

    monkeypatch.setattr(worker.archive, "drop_due_chunks", fail)
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
