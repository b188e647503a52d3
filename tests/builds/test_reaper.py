import os
from dataclasses import replace
from datetime import timedelta
from math import inf
from time import monotonic
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError
from django.utils import timezone

from builds import reaper, runner
from builds.conf import BuildSettings, build_settings
from builds.lifecycle import request_drain, request_pause, request_removal, request_resume
from builds.models import Build, BuildQuerySet, LogChunk
from builds.registry import make_registry
from builds.retry_policy import MAX_RESTARTS
from builds.status import Status
from builds.worker import WORKER
from images.models import Image
from tests.conftest import Order, log_of, stand

pytestmark = pytest.mark.django_db(transaction=True)


def abandoned(build: Build, status: Status = Status.BUILDING) -> Build:
    """As if a worker had claimed it and died a minute ago."""
    ended = timezone.now() - timedelta(seconds=60)
    stand(Build.objects.filter(pk=build.pk), status, fence=1, worker="gone", lease_until=ended)
    build.refresh_from_db()
    return build


def test_a_build_whose_worker_died_is_lost_and_starts_again(order: Order) -> None:
    build = abandoned(order("echo hello"))
    [successor_id] = reaper.settle_expired()
    build.refresh_from_db()
    assert build.state is Status.LOST
    assert log_of(build)[-1][0] == "stderr"
    successor = Build.objects.get(pk=successor_id)
    assert (successor.number, successor.restarts, successor.free) == (2, 1, False)
    assert build.free
    runner.run(successor_id)
    successor.refresh_from_db()
    assert successor.state is Status.SUCCEEDED


def test_a_build_with_a_living_worker_is_left_alone(order: Order) -> None:
    build = abandoned(order("echo hello"))
    later = timezone.now() + timedelta(seconds=10)
    Build.objects.filter(pk=build.pk).update(lease_until=later)
    assert reaper.settle_expired() == []
    build.refresh_from_db()
    assert build.state is Status.BUILDING


def test_after_the_database_was_away_nobody_is_dead_who_could_not_renew_a_lease(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("planted")

    monkeypatch.setattr(WORKER, "_away_at", -inf)
    build = abandoned(order("echo hello"))
    with monkeypatch.context() as planted:
        planted.setattr(BuildQuerySet, "update", away)
        with pytest.raises(OperationalError):
            WORKER.renew()
    assert reaper.settle_expired() == []
    build.refresh_from_db()
    assert build.state is Status.BUILDING
    since = monotonic() - build_settings().lease_seconds - 1
    monkeypatch.setattr(WORKER, "_away_at", since)
    assert len(reaper.settle_expired()) == 1


def test_a_build_that_was_being_cancelled_when_its_worker_died_is_cancelled(order: Order) -> None:
    build = abandoned(order("echo hello"), Status.CANCELLING)
    assert reaper.settle_expired() == []
    build.refresh_from_db()
    assert build.state is Status.CANCELLED


def test_a_build_under_which_workers_keep_dying_is_given_up(order: Order) -> None:
    build = order("echo hello")
    Build.objects.filter(pk=build.pk).update(restarts=MAX_RESTARTS)
    abandoned(build)
    assert reaper.settle_expired() == []
    build.refresh_from_db()
    assert build.state is Status.FAILED
    assert build.failure_fault == "service"


def test_a_queued_build_whose_message_was_lost_is_found_again(order: Order) -> None:
    build = order("echo hello")
    assert reaper.forgotten() == [build.pk]
    runner.run(build.pk)
    assert reaper.forgotten() == []


def test_no_more_forgotten_builds_are_sent_than_there_are_free_hands(
    order: Order, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, workers=2)
    builds = [order("echo hello") for _ in range(3)]
    assert reaper.forgotten() == [each.pk for each in builds[:2]]


def test_nothing_counts_as_forgotten_while_nothing_is_to_be_taken(order: Order) -> None:
    order("echo hello")
    request_pause(by="operator")
    assert reaper.forgotten() == []
    request_resume()
    WORKER.sign_on()
    request_drain(WORKER.name)
    assert reaper.forgotten() == []


def test_what_a_deleted_image_left_goes_and_what_others_have_stays(
    order: Order, deployment: BuildSettings
) -> None:
    registry = make_registry(deployment)
    gone, kept = order("echo same"), order("echo same")
    for build in (gone, kept):
        runner.run(build.pk)
        build.refresh_from_db()
    request_removal(gone.image_id)
    reaper.purge()
    assert registry.digest_of(gone.repository, "1") is None
    assert registry.digest_of(gone.repository, gone.attempt_tag) is None
    assert registry.digest_of(kept.repository, "1") == kept.digest
    assert not default_storage.exists(gone.context_key)
    assert default_storage.exists(kept.context_key)
    assert not LogChunk.objects.filter(build=gone).exists()
    assert kept.log_steps
    assert kept.step_list
    gone.refresh_from_db()
    assert gone.log_steps == gone.step_list == gone.step_times == []
    assert gone.purged_at is not None


def test_the_tag_of_an_image_made_again_at_once_outlives_the_old_ones_removal(
    order: Order, deployment: BuildSettings
) -> None:
    old = order("echo old", name="again")
    runner.run(old.pk)
    request_removal(old.image_id)
    new = order("echo new", name="again", image_id=old.image_id)
    runner.run(new.pk)
    reaper.purge()
    new.refresh_from_db()
    assert make_registry(deployment).digest_of(new.repository, "1") == new.digest


def test_a_registry_that_is_away_delays_a_removal_and_loses_none(
    order: Order, deployment: BuildSettings, settings: Any
) -> None:
    build = order("echo hello")
    runner.run(build.pk)
    request_removal(build.image_id)
    settings.BUILDS = replace(deployment, registry="127.0.0.1:9")
    reaper.purge()
    build.refresh_from_db()
    assert build.purged_at is None
    settings.BUILDS = deployment
    reaper.purge()
    build.refresh_from_db()
    assert build.purged_at is not None


def test_a_context_is_forgotten_when_a_newer_attempt_has_its_own(order: Order) -> None:
    old = order("exit 1")
    runner.run(old.pk)
    reaper.drop_superseded_contexts()
    assert default_storage.exists(old.context_key)
    new = order("echo hello", image_id=old.image_id)
    reaper.drop_superseded_contexts()
    old.refresh_from_db()
    new.refresh_from_db()
    assert old.context_key == ""
    assert default_storage.exists(new.context_key)
    assert Image.objects.get(pk=new.image_id).current_id == new.pk


def test_folders_of_builds_that_no_longer_run_are_removed_and_no_others(
    order: Order, deployment: BuildSettings
) -> None:
    running, lost = order("echo hello"), order("echo hello")
    abandoned(running)
    kept, left = deployment.work_folder / str(running.pk), deployment.work_folder / str(lost.pk)
    trial, old_trial = (deployment.work_folder / f"trial-{each}" for each in "ab")
    for folder in (kept, left, trial, old_trial):
        (folder / "context").mkdir(parents=True)
    os.utime(old_trial, (0, 0))
    reaper.drop_work_folders()
    assert set(deployment.work_folder.iterdir()) == {kept, trial}
