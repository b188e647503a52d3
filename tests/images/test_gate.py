"""Whether those who watch still may; operators watch everybody's builds, but not by a key."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiKey, User
from accounts.sockets import Caller
from images import gate
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


async def test_a_viewer_who_comes_as_the_last_one_leaves_is_asked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "ASK_SECONDS", 0.01)
    nobody = Caller(AnonymousUser())
    with gate.gate().watching(nobody, uuid4()):
        await asyncio.sleep(0)
    with gate.gate().watching(nobody, uuid4()) as place:
        assert await asyncio.wait_for(place.barred, 5) is gate.Code.NOT_FOUND
