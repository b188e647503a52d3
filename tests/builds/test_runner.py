"""One attempt from claim to final status, with the scripted engine and a real registry."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import OperationalError, connection
from django.utils import timezone

from builds import reaper, runner
from builds.build_spec import BuildOutcome, BuildSpec
from builds.conf import BuildSettings
from builds.engines.scripted import ScriptedEngine
from builds.failures import BUILDER_LOST
from builds.lifecycle import request_cancel, request_removal
from builds.models import Build, BuildQuerySet
from builds.registry import Manifest, make_registry
from builds.retry_policy import MAX_RESTARTS
from builds.status import Status
from builds.worker import WORKER
from common.outages import StorageAway
from images.models import Image
from tests.conftest import Order, log_of, zipped

pytestmark = pytest.mark.django_db(transaction=True)


def run(build: Build) -> Build:
    runner.run(build.pk)
    build.refresh_from_db()
    return build


class Running:
    """A build run by another thread, as a worker would."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            runner.run(self.build.pk)
        finally:
            connection.close()

    def until(self, met: Callable[[Build], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.build.refresh_from_db()
            if met(self.build):
                return
            time.sleep(0.05)
        raise AssertionError(f"it did not happen; the build is {self.build.status}")

    def finish(self, seconds: float = 10) -> Build:
        self.thread.join(seconds)
        assert not self.thread.is_alive()
        self.build.refresh_from_db()
        return self.build


def digest_of(build: Build, deployment: BuildSettings, tag: str = "1") -> str | None:
    return make_registry(deployment).digest_of(build.repository, tag)


def test_a_build_ends_pushed_with_the_digest_that_the_registry_has(
    order: Order, deployment: BuildSettings
) -> None:
    build = run(order("echo hello"))
    assert build.state is Status.SUCCEEDED
    assert build.digest == digest_of(build, deployment)
    assert build.image_bytes
    assert ("stdout", "hello") in log_of(build)
    assert log_of(build)[-1] == ("stdout", f"Built and pushed as {build.digest}")
    image = Image.objects.get(pk=build.image_id)
    assert image.good_id == image.current_id == build.pk


def test_a_failing_step_ends_with_its_reason_as_the_last_stderr_line(order: Order) -> None:
    build = run(order("echo before", "exit 3"))
    assert build.state is Status.FAILED
    assert build.failure_fault == "user"
    assert "3" in build.failure_text
    assert log_of(build)[-1] == ("stderr", build.failure_text)
    assert ("stdout", "before") in log_of(build)


TESTS = "FROM scratch AS tests\nRUN scripted: {}\n"
SIDE_BY_SIDE = """FROM scratch AS build
ENV A=b
RUN scripted: echo make begins ;; until {gate} ;; echo make ends
FROM scratch
RUN scripted: cached
RUN scripted: echo test begins ;; until {gate} ;; stderr test ends
COPY --from=build /a /b
CMD ["x"]
"""


def test_stages_that_run_side_by_side_have_steps_of_their_own(order: Order, tmp_path: Path) -> None:
    gate = tmp_path / "go"
    running = Running(order(dockerfile=SIDE_BY_SIDE.format(gate=gate)))
    running.until(lambda build: [each[0] for each in build.step_times].count("running") == 2)
    assert [each[0] for each in running.build.step_times] == [
        *("succeeded", "succeeded", "running"),
        *("succeeded", "cached", "running", "waiting", "waiting"),
    ]
    assert (running.build.step, running.build.steps) == (6, 8)
    gate.touch()
    build = running.finish()
    assert build.state is Status.SUCCEEDED
    assert [each[0] for each in build.step_times] == [
        *["succeeded"] * 4, "cached", *["succeeded"] * 3
    ]  # fmt: skip
    assert (build.step, build.steps) == (8, 8)
    assert [each[1] for each in build.step_list] == ["build"] * 3 + ["stage-1"] * 5
    log = [text for _, text in log_of(build)]
    for begins, ends in (("make begins", "make ends"), ("test begins", "test ends")):
        assert log.index(begins) < log.index(ends)
    assert "STEP 2/8: [build] ENV A=b" in log
    assert "STEP 5/8 (cached): [stage-1] RUN scripted: cached" in log
    assert log.index("STEP 7/8: [stage-1] COPY --from=build /a /b") > log.index("make ends")
    [pushing] = [at for at, text in enumerate(log) if text.startswith("Pushing ")]
    assert log.index('STEP 8/8: [stage-1] CMD ["x"]') < pushing


def test_the_step_that_failed_is_told_from_the_one_that_was_stopped(
    order: Order, tmp_path: Path
) -> None:
    text = SIDE_BY_SIDE.replace("stderr test ends", "exit 3").replace(
        "until {gate} ;; echo make", "sleep 60 ;; echo make"
    )
    gate = tmp_path / "go"
    running = Running(order(dockerfile=text.format(gate=gate)))
    running.until(lambda build: [each[0] for each in build.step_times].count("running") == 2)
    gate.touch()
    build = running.finish()
    assert build.state is Status.FAILED
    assert [each[0] for each in build.step_times] == [
        *("succeeded", "succeeded", "cancelled"),
        *("succeeded", "cached", "failed", "waiting", "waiting"),
    ]
    assert build.step == 6


def test_a_build_is_taken_once_however_often_its_message_comes(order: Order) -> None:
    build = order("echo hello")
    run(build)
    lines = log_of(build)
    run(build)
    assert log_of(build) == lines


def test_a_context_that_would_write_outside_is_refused_with_its_name(order: Order) -> None:
    build = order("echo never")
    default_storage.delete(build.context_key)
    evil = zipped(**{"../escape": "x"}).replace(b"...escape", b"../escape")
    default_storage.save(build.context_key, ContentFile(evil))
    build = run(build)
    assert build.state is Status.FAILED
    assert build.failure_code == "context"
    assert "escape" in build.failure_text


@pytest.mark.parametrize("away", [True, False])
def test_a_context_that_cannot_be_read_is_no_users_fault(
    order: Order, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    build = order("echo never")
    if away:

        def refuse(_: str) -> None:
            raise StorageAway("planted")

        monkeypatch.setattr(runner.default_storage, "open", refuse)
    else:
        default_storage.delete(build.context_key)
    build = run(build)
    assert build.state is Status.LOST
    assert (build.failure_fault, build.failure_code) == ("service", "storage")
    assert log_of(build)[-1][1].startswith("the stored context cannot be read")
    assert "planted" not in build.failure_text


def test_a_dockerfile_without_a_from_is_refused_before_anything_runs(order: Order) -> None:
    build = run(order(dockerfile="RUN echo hello\n"))
    assert build.state is Status.FAILED
    assert build.failure_code == "dockerfile"


def test_a_stored_build_argument_that_would_configure_the_builder_is_refused(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a build that was stored before the API refused it."""
    monkeypatch.setattr(runner, "engine", lambda: pytest.fail("it went on to the engine"))
    build = run(order("echo never", build_args={"A": "1", "BUILDKIT_SYNTAX": "evil/frontend"}))
    assert build.state is Status.FAILED
    assert (build.failure_fault, build.failure_code) == ("user", "build-args")
    assert "BUILDKIT_SYNTAX" in build.failure_text
    assert log_of(build)[-1] == ("stderr", build.failure_text)


def test_the_options_of_a_build_are_in_its_spec(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs: list[BuildSpec] = []
    build_by = ScriptedEngine.build

    def seen(self: ScriptedEngine, spec: BuildSpec) -> Any:
        specs.append(spec)
        return build_by(self, spec)

    monkeypatch.setattr(ScriptedEngine, "build", seen)
    options = {"target": "tests", "no_cache": True, "pull": True, "labels": {"b": "2", "a": "1"}}
    run(order(dockerfile=TESTS.format("echo hello"), **options))
    run(order("echo hello"))
    [chosen, plain] = specs
    assert (chosen.target, chosen.no_cache, chosen.pull) == ("tests", True, True)
    assert chosen.labels == (("a", "1"), ("b", "2"))
    assert (plain.target, plain.no_cache, plain.pull, plain.labels) == ("", False, False, ())


def test_a_build_past_its_deadline_is_ended(
    order: Order, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, deadline_seconds=1)
    started = time.monotonic()
    build = run(order("sleep 60"))
    assert time.monotonic() - started < 10
    assert build.state is Status.FAILED
    assert build.failure_code == "deadline"
    assert log_of(build)[-1][1].startswith("deadline: the build took longer than 1 s")


def test_cancelling_a_running_build_ends_it(order: Order) -> None:
    running = Running(order("echo begun", "sleep 60"))
    running.until(lambda build: build.log_lines > 1)
    assert request_cancel(running.build)
    build = running.finish()
    assert build.state is Status.CANCELLED
    assert log_of(build)[-1] == ("stderr", "cancelled")


def test_cancelling_a_queued_build_is_the_move_alone(order: Order) -> None:
    build = order("echo never")
    assert request_cancel(build)
    build = run(build)
    assert build.state is Status.CANCELLED
    assert log_of(build) == [("stderr", "cancelled")]


def test_a_cancel_that_comes_after_success_is_refused(order: Order) -> None:
    build = run(order("echo hello"))
    assert not request_cancel(build)
    build.refresh_from_db()
    assert build.state is Status.SUCCEEDED


def test_deleting_the_image_ends_its_build_and_nothing_is_pushed(
    order: Order, deployment: BuildSettings
) -> None:
    running = Running(order("echo begun", "sleep 60"))
    running.until(lambda build: build.log_lines > 1)
    request_removal(running.build.image_id)
    build = running.finish()
    assert build.state is Status.CANCELLED
    assert digest_of(build, deployment) is None


def test_an_old_attempt_never_moves_the_tag_of_the_image_made_again(
    order: Order, deployment: BuildSettings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    old = Running(order("echo begun", f"until {gate}", name="again"))
    old.until(lambda build: build.log_lines > 1)
    request_removal(old.build.image_id)
    new = run(order("echo new", name="again", image_id=old.build.image_id))
    gate.touch()
    assert old.finish().state is Status.CANCELLED
    assert new.state is Status.SUCCEEDED
    assert digest_of(new, deployment) == new.digest


def test_an_attempt_that_is_overtaken_after_its_push_moves_no_tag(
    order: Order, deployment: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, newer = order("echo old", name="again"), []
    publish = runner.Attempt._publish

    def late(attempt: runner.Attempt, outcome: BuildOutcome, manifest: Manifest) -> bool:
        if attempt.build.pk == old.pk:
            request_removal(old.image_id)
            newer.append(run(order("echo new", name="again", image_id=old.image_id)))
        return publish(attempt, outcome, manifest)

    monkeypatch.setattr(runner.Attempt, "_publish", late)
    assert run(old).state is Status.CANCELLED
    [new] = newer
    assert new.state is Status.SUCCEEDED
    assert digest_of(new, deployment) == new.digest


def test_a_stop_settles_the_build_as_lost_and_the_next_attempt_keeps_its_place(
    order: Order,
) -> None:
    options = {"target": "tests", "no_cache": True, "pull": True, "labels": {"a": "1"}}
    running = Running(order(dockerfile=TESTS.format("echo begun ;; sleep 60"), **options))
    running.until(lambda build: build.log_lines > 1)
    WORKER.stopping.set()
    build = running.finish()
    assert build.state is Status.LOST
    assert log_of(build)[-1][1].startswith("interrupted")
    successor = Build.objects.get(image_id=build.image_id, number=2)
    assert successor.state is Status.QUEUED
    assert (build.free, successor.free) == (True, False)
    assert (successor.restarts, successor.interruptions) == (0, 1)
    assert successor.queued_at == build.queued_at
    assert {name: getattr(successor, name) for name in options} == options
    assert Image.objects.get(pk=build.image_id).current_id == successor.pk


def test_a_worker_that_lost_its_build_writes_nothing_more(order: Order) -> None:
    running = Running(order("echo begun", "sleep 2", "echo too late"))
    running.until(lambda build: build.log_lines > 1)
    Build.objects.filter(pk=running.build.pk).update(fence=99)
    build = running.finish()
    assert build.state is Status.BUILDING
    assert ("stdout", "too late") not in log_of(build)


def test_a_database_that_goes_away_as_it_writes_down_the_push_costs_nothing(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    move, failed = BuildQuerySet.move, []

    def moves_and_goes(self: BuildQuerySet, to: Status, **values: Any) -> int:
        moved = move(self, to, **values)
        if to is Status.PUSHING and not failed:
            failed.append(moved)
            raise OperationalError("planted")
        return moved

    monkeypatch.setattr(BuildQuerySet, "move", moves_and_goes)
    build = run(order("echo hello"))
    assert failed == [1]
    assert build.state is Status.SUCCEEDED


def test_a_build_whose_database_stays_away_is_no_failure_of_anybody_and_starts_again(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> bool:
        raise OperationalError("planted")

    build = order("echo hello")
    with monkeypatch.context() as planted:
        planted.setattr(runner, "sleep", lambda _: None)
        planted.setattr(runner.Attempt, "_publish", away)
        assert run(build).state is Status.PUSHING
    Build.objects.update(lease_until=timezone.now())
    [successor] = reaper.settle_expired()
    assert run(Build.objects.get(pk=successor)).state is Status.SUCCEEDED


def test_a_build_whose_builder_was_killed_starts_again_but_not_for_ever(order: Order) -> None:
    build = run(order("echo begun", "killed the builder"))
    for number in range(1, MAX_RESTARTS + 1):
        assert (build.state, build.number) == (Status.LOST, number)
        assert build.failure_text == log_of(build)[-1][1] == BUILDER_LOST.text
        build = run(Build.objects.get(image_id=build.image_id, number=number + 1))
    assert (build.state, build.failure_fault) == (Status.FAILED, "service")
    assert build.failure_text == log_of(build)[-1][1]
    assert "ask the operator" in build.failure_text
    assert not Build.objects.filter(image_id=build.image_id, status=Status.QUEUED).exists()


def test_a_worker_without_its_helper_gives_its_builds_back_and_takes_none(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WORKER, "helper_lost", False)
    running = Running(order("echo begun", "sleep 60"))
    running.until(lambda build: build.log_lines > 1)
    WORKER.lose_helper()
    build = running.finish()
    assert (build.state, build.failure_text) == (Status.LOST, BUILDER_LOST.text)
    assert Build.objects.get(image_id=build.image_id, number=2).restarts == 1
    assert WORKER.next() is None


def test_a_crash_of_ours_is_not_blamed_on_the_owner(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("planted")

    build = order("echo hello")
    monkeypatch.setattr("builds.context.unpack", broken)
    build = run(build)
    assert build.state is Status.LOST
    assert build.failure_fault == "service"
    assert "planted" not in build.failure_text
    assert str(build.pk) in build.failure_text


def test_each_attempt_has_a_digest_of_its_own_and_a_failed_one_leaves_the_good_one(
    order: Order, deployment: BuildSettings
) -> None:
    first = run(order("echo same", name="steady"))
    second = run(order("echo same", name="steady", image_id=first.image_id))
    assert first.digest != second.digest
    third = run(order("exit 1", name="steady", image_id=first.image_id))
    assert digest_of(third, deployment) == second.digest
    image = Image.objects.get(pk=first.image_id)
    assert (image.current_id, image.good_id) == (third.pk, second.pk)


def test_nothing_of_an_attempt_stays_in_the_work_folder(
    order: Order, deployment: BuildSettings
) -> None:
    run(order("echo hello"))
    run(order("exit 1"))
    assert not list((deployment.data_dir / "builds").iterdir())


def test_unusable_credentials_for_the_registry_are_the_operators_affair(
    order: Order, deployment: BuildSettings, settings: Any, tmp_path: Path
) -> None:
    build = order("echo hello")
    auth = tmp_path / "auth.json"
    auth.write_text("not json")
    settings.BUILDS = replace(deployment, registry_auth=auth)
    build = run(build)
    assert build.state is Status.LOST
    assert build.failure_fault == "service"
    assert log_of(build)[-1] == ("stderr", build.failure_text)
