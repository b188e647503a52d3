"""Builds that fail through no fault of their owners: tried again elsewhere, later, not for ever."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts.models import ApiKey
from builds import reaper, runner
from builds.completion import settle_failed
from builds.conf import BuildSettings
from builds.failures import BUILDER_LOST, INTERRUPTED, Failure
from builds.lifecycle import request_cancel
from builds.models import Build, Worker
from builds.models.clock import from_now
from builds.retry_policy import MAX_INTERRUPTIONS, MAX_RESTARTS
from builds.status import Status
from builds.worker import WORKER, ThisWorker
from images.models import Image
from images.quota import QuotaExceeded, check_quota
from tests.conftest import Order, log_of, stand

pytestmark = pytest.mark.django_db(transaction=True)

AWAY = Failure(fault="service", code="registry", text="the registry is away")
Fail = Callable[..., Build]


@pytest.fixture
def fail() -> Fail:
    """Claims the current attempt as some worker and fails it; returns the attempt after it."""

    def fail_it(
        build: Build, failure: Failure = AWAY, *, to: Status = Status.FAILED, at: str = "elsewhere"
    ) -> Build:
        stand(Build.objects.filter(pk=build.pk), Status.BUILDING, worker=at, fence=1)
        settled = settle_failed(build.pk, fence=1, to=to, failure=failure)
        assert settled is not None
        settled.refresh_from_db()
        return settled

    return fail_it


def make_due(build: Build) -> None:
    Build.objects.filter(pk=build.pk).update(not_before=from_now(-60))


def run(build: Build) -> Build:
    runner.run(build.pk)
    build.refresh_from_db()
    return build


def successor_of(build: Build) -> Build:
    return Build.objects.get(image_id=build.image_id, number=build.number + 1)


@pytest.mark.parametrize("code", ["registry", "push", "storage", "engine", "builder", "disk"])
def test_any_failure_of_the_service_is_tried_again_as_a_new_attempt(
    order: Order, fail: Fail, code: str
) -> None:
    build = order("echo hello")
    again = fail(build, replace(AWAY, code=code))
    build.refresh_from_db()
    assert build.state is Status.LOST
    assert build.failure_text == "the registry is away; next attempt in 5 s"
    assert log_of(build)[-1] == ("stderr", build.failure_text)
    assert (again.number, again.state, again.retries) == (2, Status.QUEUED, 1)
    assert again.waiting_for.startswith("waiting for ")
    assert again.queued_at == build.queued_at
    assert Image.objects.get(pk=build.image_id).current_id == again.pk


def test_a_users_failure_is_not_tried_again(order: Order) -> None:
    build = run(order("exit 1"))
    assert build.state is Status.FAILED
    assert Build.objects.count() == 1


def test_attempts_come_later_and_later_for_an_hour_and_then_no_more(
    order: Order, fail: Fail
) -> None:
    build = order("echo hello")
    for delay in (5, 15, 60, 300, 300):
        build = fail(build)
        due = Build.objects.filter(pk=build.pk, not_before__gt=from_now(delay - 4))
        assert due.filter(not_before__lte=from_now(delay)).exists()
    assert build.retry_until is not None
    assert timedelta(minutes=59) < build.retry_until - timezone.now() <= timedelta(hours=1)
    Build.objects.filter(pk=build.pk).update(retry_until=timezone.now() - timedelta(seconds=1))
    ended = fail(build)
    assert ended.pk == build.pk
    assert ended.state is Status.FAILED
    assert ended.failure_text == "the registry is away (tried 6 times in an hour; ask the operator)"
    assert Build.objects.count() == 6


def test_a_build_is_not_taken_before_it_is_due(order: Order, fail: Fail) -> None:
    again = fail(order("echo hello"))
    assert WORKER.next() is None
    assert not runner.run(again.pk)
    assert reaper.forgotten() == []
    assert list(Build.objects.waiting()) == [again]
    make_due(again)
    assert reaper.forgotten() == [again.pk]
    assert run(again).state is Status.SUCCEEDED


def test_an_attempt_is_left_to_other_workers_first(order: Order, fail: Fail) -> None:
    other = ThisWorker()
    for worker in (WORKER, other):
        worker.sign_on()
    again = fail(order("echo hello"), at=WORKER.name)
    Build.objects.update(not_before=from_now(-1))
    assert WORKER.next() is None
    assert other.next() == again.pk
    other.begin_quarantine("planted")
    assert WORKER.next() == again.pk
    other.end_quarantine()
    assert WORKER.next() is None
    Worker.objects.filter(pk=other.name).update(seen_at=from_now(-60))
    assert WORKER.next() == again.pk
    other.sign_on()
    Build.objects.update(not_before=from_now(-11))
    assert WORKER.next() == again.pk


def test_a_builder_that_was_killed_is_replaced_at_once_but_elsewhere(
    order: Order, fail: Fail
) -> None:
    other = ThisWorker()
    for worker in (WORKER, other):
        worker.sign_on()
    again = fail(order("echo hello"), BUILDER_LOST, to=Status.LOST, at=WORKER.name)
    assert (again.restarts, again.retries) == (1, 0)
    assert WORKER.next() is None
    assert other.next() == again.pk


def test_builds_that_break_their_builders_or_us_are_given_up_soon(order: Order, fail: Fail) -> None:
    for failure, to in (
        (BUILDER_LOST, Status.LOST),
        (Failure(fault="service", code="internal", text="internal error"), Status.FAILED),
    ):
        build = order("echo hello")
        for n in range(MAX_RESTARTS):
            build = fail(build, failure, to=to)
            assert build.restarts == n + 1
        ended = fail(build, failure, to=to)
        assert ended.state is Status.FAILED
        assert ended.failure_fault == "service"
        assert ended.failure_text.endswith("4 times; ask the operator")


def test_interruptions_have_a_bound_of_their_own(order: Order, fail: Fail) -> None:
    build = order("echo hello")
    for n in range(MAX_INTERRUPTIONS):
        build = fail(build, INTERRUPTED, to=Status.LOST)
        assert (build.interruptions, build.restarts, build.retries) == (n + 1, 0, 0)
        assert build.not_before is None
    ended = fail(build, INTERRUPTED, to=Status.LOST)
    assert ended.state is Status.FAILED
    assert "stopped 11 times" in ended.failure_text


def test_an_owners_new_attempt_begins_to_count_anew(order: Order, fail: Fail) -> None:
    again = fail(order("echo hello"))
    fresh = again.again(restarts=0, free=False)
    assert (fresh.retries, fresh.retry_until, fresh.not_before) == (0, None, None)
    assert (fresh.waiting_for, fresh.avoid_worker) == ("", "")


def test_nobody_is_charged_for_what_failed_through_us(order: Order, fail: Fail, owner: Any) -> None:
    owner.daily_build_limit = 1
    build = order("echo hello")
    with pytest.raises(QuotaExceeded):
        check_quota(owner)
    build = fail(build)
    with pytest.raises(QuotaExceeded):  # the charge is the next attempt's
        check_quota(owner)
    Build.objects.filter(pk=build.pk).update(retry_until=timezone.now())
    assert fail(build).state is Status.FAILED
    check_quota(owner)


def test_a_build_that_succeeds_in_the_end_is_charged_once(
    order: Order, fail: Fail, owner: Any
) -> None:
    again = fail(fail(order("echo hello")))
    make_due(again)
    assert run(again).state is Status.SUCCEEDED
    since = timezone.now() - timedelta(hours=1)
    assert [each.pk for each in Build.objects.charged_since(owner.pk, since)] == [again.pk]


def test_what_waits_for_its_next_attempt_is_cancelled_at_once(order: Order, fail: Fail) -> None:
    again = fail(order("echo hello"))
    assert request_cancel(again)
    again.refresh_from_db()
    assert again.state is Status.CANCELLED
    assert Build.objects.count() == 2


def test_a_build_that_fails_through_us_while_it_is_cancelled_is_cancelled(
    order: Order,
) -> None:
    build = order("echo hello")
    stand(Build.objects.filter(pk=build.pk), Status.CANCELLING, worker="some", fence=1)
    settled = settle_failed(build.pk, fence=1, to=Status.FAILED, failure=AWAY)
    build.refresh_from_db()
    assert settled == build
    assert build.state is Status.CANCELLED
    assert Build.objects.count() == 1


def test_an_outage_of_the_registry_is_waited_out_and_shown(
    order: Order, deployment: BuildSettings, settings: Any, client: Any, owner: Any
) -> None:
    build = order("echo hello")
    with WORKER.claim(build.pk) as claimed:  # it goes away under a build that runs
        assert claimed is not None
        settings.BUILDS = away = replace(deployment, registry="127.0.0.1:9")
        runner.Attempt(claimed, away, runner.make_registry(away)).run()
    settings.BUILDS = deployment
    build.refresh_from_db()
    assert build.state is Status.LOST
    again = successor_of(build)
    assert again.waiting_for.startswith("waiting for the registry: ")
    assert "127.0.0.1:9" in again.waiting_for
    key = ApiKey.objects.issue(owner, label="")[1]
    told = client.get(f"/images/{build.image_id}", headers={"Authorization": key}).json()
    assert told["status"] == "pending build"
    assert told["build"]["waiting_for"] == again.waiting_for
    make_due(again)
    assert run(again).state is Status.SUCCEEDED


def test_an_outage_of_the_storage_is_waited_out(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = order("echo hello")
    with monkeypatch.context() as planted:

        def refuse(*_: Any) -> None:
            raise FileNotFoundError("planted")

        planted.setattr(default_storage, "open", refuse)
        run(build)
    again = successor_of(build)
    assert again.waiting_for.startswith("waiting for the storage: ")
    make_due(again)
    assert run(again).state is Status.SUCCEEDED
