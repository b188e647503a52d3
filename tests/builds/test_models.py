import pytest
from django.db import IntegrityError, transaction

from builds.models import Build
from builds.status import Status
from tests.conftest import Order

pytestmark = pytest.mark.django_db


def test_only_the_first_of_two_moves_is_made(order: Order) -> None:
    build = order("echo hello")
    mine = Build.objects.filter(pk=build.pk)
    assert mine.move(Status.BUILDING) == 1
    assert mine.move(Status.BUILDING) == 0


def test_an_illegal_move_changes_nothing(order: Order) -> None:
    build = order("echo hello")
    assert Build.objects.filter(pk=build.pk).move(Status.SUCCEEDED) == 0
    build.refresh_from_db()
    assert build.state is Status.QUEUED


def test_the_database_refuses_a_status_that_does_not_exist(order: Order) -> None:
    build = order("echo hello")
    with pytest.raises(IntegrityError), transaction.atomic():
        Build.objects.filter(pk=build.pk).update(status="resting")


def test_attempts_of_one_image_are_numbered_in_turn(order: Order) -> None:
    first = order("echo one")
    second = order("echo two", image_id=first.image_id)
    assert (first.number, second.number) == (1, 2)


def test_the_database_refuses_the_same_number_twice(order: Order) -> None:
    first = order("echo one")
    second = order("echo two", image_id=first.image_id)
    second.number = 1
    with pytest.raises(IntegrityError), transaction.atomic():
        second.save()
