"""Leases under processes whose clocks differ: only the database's clock counts."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY

from builds import reaper
from builds.models import Build, Worker
from builds.models.clock import ClockWrong, Now, check_clock, clock_offset, from_now
from builds.status import Status
from builds.worker import WORKER, ThisWorker
from observability import health
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)
true_now = timezone.now
SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets this process's clock so many seconds ahead of the database's."""

    def set_it(seconds: float) -> None:
        def wrong() -> datetime:
            return true_now() + timedelta(seconds=seconds)

        monkeypatch.setattr("django.utils.timezone.now", wrong)

    return set_it


@pytest.mark.parametrize("skew", [-3600.0, -90.0, 90.0, 3600.0])
def test_a_lease_lasts_as_long_by_the_databases_clock_whatever_the_workers_says(
    order: Order, set_clock: SetClock, skew: float
) -> None:
    build = order("echo hello")
    set_clock(skew)
    with WORKER.claim(build.pk) as mine:
        assert mine is not None
        WORKER.renew()
        WORKER.sign_on()
        for reaper_skew in (skew, 0.0, -skew):
            set_clock(reaper_skew)
            assert reaper.settle_expired() == []
            assert Worker.objects.alive().count() == 1
            assert not Worker.objects.with_silence().get().silent
        lease = Build.objects.filter(pk=mine.pk, lease_until__gt=from_now(15))
        assert lease.filter(lease_until__lt=from_now(21)).exists()
    Build.objects.filter(pk=build.pk).update(lease_until=from_now(-0.5))
    set_clock(-skew)
    assert len(reaper.settle_expired()) == 1
    build.refresh_from_db()
    assert build.state is Status.LOST


def test_a_silent_worker_is_forgotten_by_the_databases_clock(set_clock: SetClock) -> None:
    dead, living = ThisWorker(), ThisWorker()
    dead.sign_on()
    set_clock(3600)
    living.sign_on()
    assert Worker.objects.count() == 2
    Worker.objects.filter(pk=dead.name).update(seen_at=from_now(-700))
    set_clock(-3600)
    living.sign_on()
    assert [each.name for each in Worker.objects.all()] == [living.name]


@pytest.mark.parametrize("skew", [-90.0, -1.0, 0.0, 1.0, 90.0])
def test_a_process_knows_how_far_its_clock_is_from_the_databases(
    set_clock: SetClock, skew: float
) -> None:
    set_clock(skew)
    assert clock_offset() == pytest.approx(skew, abs=0.3)
    told = REGISTRY.get_sample_value("slipway_clock_offset_seconds")
    assert told == pytest.approx(skew, abs=0.3)


@pytest.mark.parametrize(("skew", "words"), [(5.5, "ahead of"), (-5.5, "behind")])
def test_a_clock_that_is_off_by_more_than_a_quarter_of_a_lease_is_reported(
    set_clock: SetClock, deployment: Any, skew: float, words: str
) -> None:
    set_clock(4.5 if skew > 0 else -4.5)
    check_clock()
    assert health.answer_of("clock") == "ok"
    set_clock(skew)
    with pytest.raises(ClockWrong, match=rf"5\.[3-9] s {words} the database's"):
        check_clock()
    assert words in health.answer_of("clock")


def test_the_databases_now_is_one_value_for_queries_and_updates(order: Order) -> None:
    build = order("echo hello")
    Build.objects.filter(pk=build.pk).update(lease_until=Now())
    assert Build.objects.filter(lease_until__lte=Now(), lease_until__gt=from_now(-5)).exists()
