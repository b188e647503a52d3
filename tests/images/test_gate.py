"""Operators watch everybody's builds by office: as long as they hold it, and not by a key."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiKey, User
from accounts.sockets import Caller
from images.gate import Closed, Code, Place, barred, opened
from tests.images.conftest import Send

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def image_id(send: Send) -> UUID:
    return UUID(send().json()["image_id"])


def place(user: User, image_id: UUID, key: ApiKey | None = None) -> Place:
    loop = asyncio.new_event_loop()
    loop.close()
    return Place(Caller(user, key), image_id, asyncio.Future(loop=loop))


def code(caller: Caller, image_id: UUID) -> Any:
    with pytest.raises(Closed) as closed:
        opened(caller, image_id)
    return closed.value.code


def test_an_operator_opens_a_private_log_but_a_key_of_theirs_does_not(
    keeper: User, stranger: User, operator: User, image_id: UUID
) -> None:
    for user in (keeper, operator):
        assert opened(Caller(user), image_id).pk == image_id
        key, _ = ApiKey.objects.issue(user, label="test")
        assert code(Caller(user, key), image_id) == Code.NOT_FOUND
    assert code(Caller(stranger), image_id) == Code.NOT_FOUND
    stranger.is_staff = True
    assert code(Caller(stranger), image_id) == Code.NOT_FOUND


def test_who_lost_the_right_is_sent_away_at_the_next_look(
    keeper: User, operator: User, owner: User, image_id: UUID
) -> None:
    watching = [place(user, image_id) for user in (keeper, operator, owner)]
    assert barred(watching) == {}
    keeper.groups.clear()
    assert barred(watching) == {watching[0]: Code.NOT_FOUND}
    User.objects.filter(pk=operator.pk).update(is_staff=False)
    assert barred(watching) == dict.fromkeys(watching[:2], Code.NOT_FOUND)


def test_many_operators_are_asked_for_in_as_many_queries_as_one(
    keeper: User, operator: User, image_id: UUID, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    watching = [place(user, image_id) for user in (keeper, operator, keeper, operator)]
    for some in (watching[:1], watching):
        with django_assert_num_queries(3):
            assert barred(some) == {}
