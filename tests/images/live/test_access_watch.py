"""Whether those who watch still may; operators watch everybody's builds, but not by a key."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiKey, User
from accounts.websocket_auth import Caller
from images.live import access_watch
from images.live.access_watch import Closed, Code, Place, barred, opened
from images.models import Image
from tests.images.conftest import Send

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def image_id(send: Send) -> UUID:
    return UUID(send().json()["image_id"])


def signed_in(user: User) -> Caller:
    client = Client()
    client.force_login(user)
    return Caller(user, session=client.cookies["sessionid"].value)


def place(user: User, image_id: UUID) -> Place:
    loop = asyncio.new_event_loop()
    loop.close()
    return Place(signed_in(user), image_id, asyncio.Future(loop=loop))


def code(caller: Caller, image_id: UUID) -> Any:
    with pytest.raises(Closed) as closed:
        opened(caller, image_id)
    return closed.value.code


def test_an_operator_opens_a_private_log_but_neither_key_nor_signature_of_theirs_does(
    keeper: User, stranger: User, operator: User, image_id: UUID
) -> None:
    for user in (keeper, operator):
        assert opened(signed_in(user), image_id).pk == image_id
        assert code(Caller(user), image_id) == Code.NOT_FOUND
        key, _ = ApiKey.objects.issue(user, label="test")
        assert code(Caller(user, key), image_id) == Code.NOT_FOUND
    assert code(signed_in(stranger), image_id) == Code.NOT_FOUND
    stranger.is_staff = True
    assert code(signed_in(stranger), image_id) == Code.NOT_FOUND


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
        with django_assert_num_queries(4):
            assert barred(some) == {}


async def test_a_viewer_who_comes_as_the_last_one_leaves_is_asked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_watch, "ASK_SECONDS", 0.01)
    nobody = Caller(AnonymousUser())
    with access_watch.gate().watching(nobody, uuid4()):
        await asyncio.sleep(0)
    with access_watch.gate().watching(nobody, uuid4()) as place:
        assert await asyncio.wait_for(place.barred, 5) is access_watch.Code.NOT_FOUND


async def endless(ended: list[bool]) -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"line"
            await asyncio.sleep(0.01)
    finally:
        ended.append(True)


async def test_a_stream_ends_when_its_key_is_revoked_and_not_before(
    monkeypatch: pytest.MonkeyPatch, image_id: UUID, owner: User
) -> None:
    monkeypatch.setattr(access_watch, "ASK_SECONDS", 0.01)
    (key, _), (kept, _) = [await sync_to_async(ApiKey.objects.issue)(owner) for _ in range(2)]
    ended: list[bool] = []
    revoked = access_watch.while_allowed(Caller(owner, key), image_id, endless(ended), last=b"out")
    control = access_watch.while_allowed(Caller(owner, kept), image_id, endless([]), last=b"out")
    for stream in (revoked, control):
        assert await anext(stream) == b"line"
    await sync_to_async(ApiKey.objects.filter(pk=key.pk).revoke)()
    async with asyncio.timeout(10):
        assert [piece async for piece in revoked][-1] == b"out"
    assert ended == [True]
    await asyncio.sleep(0.1)
    assert await anext(control) == b"line"
    await control.aclose()


async def test_a_text_of_known_length_is_cut_when_its_image_is_hidden(
    monkeypatch: pytest.MonkeyPatch, image_id: UUID
) -> None:
    monkeypatch.setattr(access_watch, "ASK_SECONDS", 0.01)
    images = Image.objects.filter(pk=image_id)
    await sync_to_async(images.update)(public=True)
    text = access_watch.while_allowed(Caller(AnonymousUser()), image_id, endless([]))
    assert await anext(text) == b"line"
    await sync_to_async(images.update)(public=False)

    async def read_on() -> None:
        async for _ in text:
            pass

    with pytest.raises(access_watch.CutShort):
        await asyncio.wait_for(read_on(), 10)


async def test_a_key_that_was_revoked_a_moment_ago_gets_nothing(
    image_id: UUID, owner: User
) -> None:
    key, _ = await sync_to_async(ApiKey.objects.issue)(owner)
    await sync_to_async(ApiKey.objects.filter(pk=key.pk).revoke)()
    stream = access_watch.while_allowed(Caller(owner, key), image_id, endless([]), last=b"out")
    assert [piece async for piece in stream] == [b"out"]
