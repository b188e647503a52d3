"""Waits for a change of an image's status, in the event loop that also serves the streams."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.http import HttpResponse

from accounts.models import User
from accounts.websocket_auth import Caller
from api.later import LaterResponse
from api.media_types import JsonRenderer
from builds.logs.hub import hub
from builds.logs.reader_threads import in_reader
from common.error_codes import IMAGE_NOT_FOUND, KEY_UNKNOWN, UNAVAILABLE, ErrorCode, error_body
from common.outages import HEADERS, OUTAGES, away
from images.live.access_watch import Code, Place, barred
from images.rest import rows

MOST_SECONDS = 60


def wait_for_change(
    caller: Caller, user: User, image_id: UUID, attempt: int, status: str, seconds: int
) -> LaterResponse:
    """The image when the attempt has another status or is gone, or when the time is over."""

    async def make() -> HttpResponse:
        await status_change(image_id, attempt, status, seconds)
        place = Place(caller, image_id, asyncio.get_running_loop().create_future())
        try:
            return await in_reader(_answer, place, user, image_id)
        except OUTAGES as problem:
            return _refused(away(problem) or UNAVAILABLE, HEADERS)

    return LaterResponse(make)


async def status_change(image_id: UUID, attempt: int, status: str, seconds: float) -> None:
    """Returns when the attempt has another status than `status` or is gone, or when the time is
    over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            with hub().join(image_id, attempt) as feed:
                while True:
                    changed = feed.changed
                    if feed.ended or (feed.head is not None and feed.head.status != status):
                        return
                    await changed.wait()


def _answer(place: Place, user: User, image_id: UUID) -> HttpResponse:
    """Authenticates the caller again: the key may have been revoked while the request waited."""
    if (code := barred([place]).get(place)) is Code.UNAUTHORIZED:
        return _refused(KEY_UNKNOWN)
    found = rows.BY_ID.rows(image_id, user.pk)
    if code is not None or not found:
        return _refused(IMAGE_NOT_FOUND)
    return _json(rows.detail(found[0]), 200)


def _refused(kind: ErrorCode, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return _json(error_body(kind), kind.status, headers)


def _json(told: Any, status: int, headers: Mapping[str, str] | None = None) -> HttpResponse:
    body = JsonRenderer().render(told)
    return HttpResponse(body, status=status, headers=headers, content_type="application/json")
