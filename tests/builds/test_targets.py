"""What is built says where its current attempt stands, from the very moment of each move."""

import pytest

from builds.completion import settle_failed
from builds.failures import CANCELLED, WORKER_LOST
from builds.models import Build, targets
from builds.status import MOVES, Status, state_word
from tests.conftest import Order, stand
from tests.together import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("start", "to"), [(start, to) for start, onward in MOVES.items() for to in sorted(onward)]
)
def test_a_target_moves_with_its_current_attempt(order: Order, start: Status, to: Status) -> None:
    build, other = order("echo hello"), order("echo other")
    stand(Build.objects.filter(pk=build.pk), start)
    assert Build.objects.filter(pk=build.pk).move(to) == 1
    assert targets().get(pk=build.image_id).state == state_word(to)
    assert targets().get(pk=other.image_id).state == "queued"


def test_a_move_that_is_not_made_moves_no_target(order: Order) -> None:
    build = order("echo hello")
    assert Build.objects.filter(pk=build.pk).move(Status.SUCCEEDED) == 0
    assert targets().get(pk=build.image_id).state == "queued"


def test_a_target_stays_where_it_is_when_an_older_attempt_moves(order: Order) -> None:
    old = order("exit 1")
    stand(Build.objects.filter(pk=old.pk), Status.BUILDING)
    order("echo again", image_id=old.image_id)
    assert Build.objects.filter(pk=old.pk).move(Status.FAILED) == 1
    assert targets().get(pk=old.image_id).state == "queued"


def test_a_target_waits_again_when_its_attempt_was_lost(order: Order) -> None:
    build = order("echo hello")
    stand(Build.objects.filter(pk=build.pk), Status.BUILDING)
    successor = settle_failed(build.pk, fence=0, to=Status.LOST, failure=WORKER_LOST)
    target = targets().get(pk=build.image_id)
    assert successor is not None
    assert (target.current_id, target.state) == (successor.pk, "queued")


def test_of_moves_at_the_same_moment_the_target_tells_the_one_that_was_made(order: Order) -> None:
    for _ in range(10):
        build = order("echo hello")

        def move(to: Status, build: Build = build) -> int:
            if to is Status.CANCELLED:
                settled = settle_failed(build.pk, fence=0, to=to, failure=CANCELLED)
                return 1 if settled else 0
            return Build.objects.filter(pk=build.pk).move(to)

        moves = (Status.BUILDING, Status.CANCELLED, Status.FAILED)
        at_once(move, *moves)
        build.refresh_from_db()
        assert targets().get(pk=build.image_id).state == state_word(build.state)
