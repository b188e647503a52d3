"""Whether those who watch still may."""

import asyncio
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser

from accounts.sockets import Caller
from images import gate

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_viewer_who_comes_as_the_last_one_leaves_is_asked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "ASK_SECONDS", 0.01)
    nobody = Caller(AnonymousUser())
    with gate.gate().watching(nobody, uuid4()):
        await asyncio.sleep(0)
    with gate.gate().watching(nobody, uuid4()) as place:
        assert await asyncio.wait_for(place.barred, 5) is gate.Code.NOT_FOUND
