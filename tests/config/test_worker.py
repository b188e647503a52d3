"""What the housekeeping of a worker process does at each turn."""

from types import SimpleNamespace
from typing import Any

import pytest

from builds import actors
from builds.fleet import Worker
from builds.lifecycle import request_drain, request_pause, request_resume, request_undrain
from builds.worker import WORKER
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
    worker: Any = SimpleNamespace(consumers={"builds": consumer})
    WORKER.sign_on()
    request_drain(WORKER.name)
    obey(worker)
    assert consumer.paused
    request_undrain(WORKER.name)
    obey(worker)
    assert not consumer.paused


def test_a_message_is_a_wake_up_call_and_names_no_build(order: Order) -> None:
    first, second = order("echo 1"), order("echo 2")
    actors.build_image.fn(build_id=str(second.pk))
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.started_at is not None
    assert second.started_at is not None
    assert first.started_at < second.started_at
