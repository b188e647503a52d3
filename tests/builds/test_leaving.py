"""A worker that is told to stop: builds that run end or are handed on, and no other is taken."""

import threading
import time
from pathlib import Path

import pytest

from builds import reaper
from builds.conf import BuildSettings
from builds.models import Build, Worker
from builds.status import Status
from builds.worker import WORKER
from tests.builds.test_runner import Running
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)


def leaving(grace: float) -> threading.Thread:
    thread = threading.Thread(target=WORKER.leave, args=[grace])
    thread.start()
    assert WORKER.leaving.wait(5)
    return thread


def test_a_build_that_ends_within_the_grace_is_not_interrupted(
    order: Order, tmp_path: Path
) -> None:
    gate = tmp_path / "go"
    running = Running(order("echo begun", f"until {gate}", "echo done"))
    running.until(lambda build: build.log_lines > 1)
    waiting = order("echo other")
    thread = leaving(60)
    assert (WORKER.next(), WORKER.free(), reaper.forgotten()) == (None, 0, [])
    with WORKER.claim(waiting.pk) as taken:
        assert taken is None
    assert not WORKER.stopping.is_set()
    gate.touch()
    assert running.finish().state is Status.SUCCEEDED
    thread.join(10)
    assert WORKER.stopping.is_set()
    assert set(Build.objects.filter(status=Status.QUEUED)) == {waiting}


def test_a_build_that_takes_longer_than_the_grace_is_handed_on(order: Order) -> None:
    WORKER.sign_on()
    running = Running(order("echo begun", "sleep 60"))
    running.until(lambda build: build.log_lines > 1)
    began = time.monotonic()
    thread = leaving(1)
    while not Worker.objects.get().draining:
        time.sleep(0.05)
    build = running.finish(20)
    assert time.monotonic() - began >= 1
    thread.join(10)
    assert (build.state, build.failure_code) == (Status.LOST, "interrupted")
    again = Build.objects.get(image_id=build.image_id, number=2)
    assert (again.state, again.interruptions, again.not_before) == (Status.QUEUED, 1, None)


def test_a_worker_without_builds_leaves_at_once(deployment: BuildSettings) -> None:
    WORKER.leave(600)
    assert WORKER.stopping.is_set()


@pytest.mark.parametrize("signal", [SystemExit, KeyboardInterrupt])
def test_a_second_signal_interrupts_builds_and_still_hands_them_on(
    order: Order, monkeypatch: pytest.MonkeyPatch, signal: type[BaseException]
) -> None:
    running = Running(order("echo begun", "sleep 60"))
    running.until(lambda build: build.log_lines > 1)

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread() is threading.main_thread():
                raise signal
            return super().wait(timeout)

    monkeypatch.setattr(WORKER, "stopping", Interrupted())
    with pytest.raises(signal):
        WORKER.leave(600)
    assert not WORKER.held()
    assert running.finish().state is Status.LOST
