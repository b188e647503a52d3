"""A worker with something wrong takes no build, says so, and comes back by itself."""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone
from prometheus_client import REGISTRY

from builds import reaper, runner, worker_checks
from builds.conf import BuildSettings
from builds.engines.base import Problem
from builds.engines.scripted import ScriptedEngine
from builds.models import Build, Worker
from builds.quarantine import BACK_OFF, FAILURES, Quarantine
from builds.queue.status import queue_statuses
from builds.status import Status
from builds.worker import WORKER
from builds.worker_checks import WORKER_CHECKS
from dashboard import system
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)
Breaks = Callable[[pytest.MonkeyPatch, Any], None]
true_now = timezone.now


def full_disk(planted: pytest.MonkeyPatch, _: Any) -> None:
    found = worker_checks.os.statvfs("/")
    fields = {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}
    full = namedtuple("full", fields)(**{**fields, "f_bavail": 1})  # noqa: PYI024
    planted.setattr(worker_checks.os, "statvfs", lambda _: full)


def no_inodes(planted: pytest.MonkeyPatch, _: Any) -> None:
    found = worker_checks.os.statvfs("/")
    fields = {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}
    full = namedtuple("full", fields)(**{**fields, "f_files": 9, "f_favail": 1})  # noqa: PYI024
    planted.setattr(worker_checks.os, "statvfs", lambda _: full)


def no_registry(planted: pytest.MonkeyPatch, settings: Any) -> None:
    settings.BUILDS = replace(settings.BUILDS, registry="127.0.0.1:9")


def no_storage(planted: pytest.MonkeyPatch, _: Any) -> None:
    def refuse() -> None:
        raise PermissionError("cannot write in /planted")

    planted.setattr(worker_checks.files(), "answer", refuse, raising=False)


def no_engine(planted: pytest.MonkeyPatch, _: Any) -> None:
    gone = [Problem(code="gone", text="the engine is gone", hint="", fatal=True)]
    planted.setattr(ScriptedEngine, "problems", lambda _: gone)


def wrong_clock(planted: pytest.MonkeyPatch, _: Any) -> None:
    def wrong() -> datetime:
        return true_now() + timedelta(seconds=90)

    planted.setattr("django.utils.timezone.now", wrong)


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass for the quarantine and the checks."""
    at = [1_000.0]
    monkeypatch.setattr("builds.quarantine.monotonic", lambda: at[0])
    monkeypatch.setattr("builds.worker_checks.monotonic", lambda: at[0])

    def go(seconds: float) -> None:
        at[0] += seconds

    return go


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (full_disk, "disk: 0 MiB are free"),
        (no_inodes, "disk: the disk has only 1 inodes left"),
        (no_registry, "registry: the registry at 127.0.0.1:9 cannot be reached"),
        (no_storage, "storage: cannot write in /planted"),
        (no_engine, "engine: the engine is gone"),
        (wrong_clock, "clock: the clock of this machine is 90.0 s ahead of the database's"),
    ],
)
def test_a_sick_worker_fails_no_build_says_why_and_comes_back(
    order: Order,
    deployment: BuildSettings,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
    breaks: Breaks,
    reason: str,
) -> None:
    WORKER.sign_on()
    build = order("echo hello")
    with monkeypatch.context() as planted:
        breaks(planted, settings)
        assert not runner.run_next()
        assert WORKER.quarantine.active
        assert (WORKER.next(), WORKER.free(), reaper.forgotten()) == (None, 0, [])
        assert not runner.run(build.pk)
        build.refresh_from_db()
        assert build.state is Status.QUEUED
        row = Worker.objects.get()
        assert row.quarantine_reason.startswith(reason)
        assert row.quarantined
        [told] = queue_statuses([build.pk])[build.pk].reasons
        assert told.code == "quarantined"
        assert reason in told.detail
        assert REGISTRY.get_sample_value(
            "slipway_worker_quarantined", {"worker": WORKER.name, "host": WORKER.host}
        )
        [hand] = system.summary().hands
        assert hand.word == "quarantined"
        pass_time(BACK_OFF[0])
        assert not WORKER_CHECKS.fit()
        since = row.quarantined_at
        row.refresh_from_db()
        assert row.quarantined_at == since
    settings.BUILDS = deployment
    pass_time(BACK_OFF[1] - 1)
    assert not WORKER_CHECKS.fit()
    pass_time(1)
    assert runner.run_next()
    build.refresh_from_db()
    assert build.state is Status.SUCCEEDED
    row.refresh_from_db()
    assert (row.quarantined_at, row.quarantine_reason, row.quarantine_until) == (None, "", None)
    assert WORKER.free() == 2


def test_checks_that_passed_are_not_made_again_at_each_claim_but_the_disks_is(
    order: Order,
    settings: Any,
    deployment: BuildSettings,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    asked: list[str] = []
    for name in worker_checks.CHECKS:
        monkeypatch.setitem(worker_checks.CHECKS, name, lambda name=name: asked.append(name))
    assert WORKER_CHECKS.fit()
    assert asked == ["disk", "clock", "engine", "storage", "registry"]
    assert WORKER_CHECKS.fit()
    assert asked[5:] == ["disk"]
    pass_time(deployment.tick_seconds)
    assert WORKER_CHECKS.fit()
    assert asked[6:] == asked[:5]


def test_a_database_that_is_away_is_no_fault_of_the_worker(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("planted")

    monkeypatch.setitem(worker_checks.CHECKS, "clock", away)
    with pytest.raises(OperationalError):
        WORKER_CHECKS.fit()
    assert not WORKER.quarantine.active


def test_a_worker_at_which_one_build_after_another_fails_by_us_stops_taking_them(
    order: Order, monkeypatch: pytest.MonkeyPatch, pass_time: Callable[[float], None]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("planted")

    WORKER.sign_on()
    for n in range(FAILURES + 2):
        order(f"echo {n}")
    with monkeypatch.context() as planted:
        planted.setattr("builds.context.unpack", broken)
        while runner.run_next():
            pass
        assert Build.objects.filter(status=Status.LOST).count() == FAILURES
        assert Worker.objects.get().quarantine_reason.startswith("builds of 3 images in a row")
        pass_time(BACK_OFF[0])
        while runner.run_next():  # its checks pass, so it tries one more
            pass
        assert Build.objects.filter(status=Status.LOST).count() == FAILURES + 1
        assert WORKER.quarantine.active
        pass_time(BACK_OFF[1] - 1)
        assert not runner.run_next()
    pass_time(1)
    assert runner.run_next()
    assert Build.objects.filter(status=Status.SUCCEEDED).count() == 1
    assert not WORKER.quarantine.active


def test_one_image_that_fails_again_and_again_makes_no_quarantine() -> None:
    quarantine, image = Quarantine(), uuid4()
    assert not any(quarantine.note_failure(image) for _ in range(10))
    assert [quarantine.note_failure(uuid4()) for _ in range(2)] == [False, True]


def test_a_build_that_runs_as_it_should_ends_the_row_of_failures() -> None:
    quarantine = Quarantine()
    for _ in range(5):
        assert not quarantine.note_failure(uuid4())
        assert not quarantine.note_failure(uuid4())
        quarantine.note_good()


def test_the_back_off_grows_to_its_limit_and_begins_anew_after_checks_passed() -> None:
    quarantine = Quarantine()
    waits = [quarantine.begin("planted") for _ in range(8)]
    assert waits == [5, 15, 30, 60, 120, 300, 300, 300]
    quarantine.end()
    assert quarantine.begin("planted") == 5
