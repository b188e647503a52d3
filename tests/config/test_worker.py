"""The housekeeping of a worker process."""

from typing import Any

import pytest
from django.db import OperationalError

from builds.models import Build, BuildQuerySet
from builds.worker import WORKER
from config import worker

pytestmark = pytest.mark.django_db(transaction=True)


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
