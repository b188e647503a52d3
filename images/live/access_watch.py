"""Checks every few seconds, in a constant number of queries, who may still watch what."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from logging import getLogger
from typing import Any
from uuid import UUID

from accounts import scopes
from accounts.models import ApiKey, User
from accounts.websocket_auth import Caller, still_good
from builds.logs.reader_threads import in_reader
from common.outages import OUTAGES
from common.per_loop import PerLoop
from images.models import Image, overseers

ASK_SECONDS = 3.0
logger = getLogger(__name__)


class Code(IntEnum):
    """Codes with which a websocket is closed."""

    DONE = 1000
    BROKEN = 1011
    BAD_MESSAGE = 4400
    UNAUTHORIZED = 4401
    NOT_FOUND = 4404
    SILENT = 4408
    BAD_CURSOR = 4422


class Closed(Exception):
    """The websocket must be closed with this code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self.code = code


class CutShort(Exception):
    """An answer of known length ends before it is complete."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A viewer of one image or, with None, of all images that the viewer may see."""

    caller: Caller
    image_id: UUID | None
    barred: "asyncio.Future[Code]"


def may_read(caller: Caller, image: Image) -> bool:
    return image.is_visible_to(caller.user) and key_covers(caller.key, image.pk)


def key_covers(key: ApiKey | None, image_id: UUID | None) -> bool:
    return key is None or scopes.allows(key.scopes, "images", scopes.READ, image_id)


def opened(caller: Caller, image_id: UUID) -> Image:
    """The image that the viewer wants to watch. Raises Closed."""
    images = Image.objects.with_build()
    # Operators may see all images only when they are signed in, so that a leaked API key cannot.
    seen = images.readable_by if caller.session else images.visible_to
    image = seen(caller.user).filter(pk=image_id).first()
    if image is None:
        raise Closed(Code.NOT_FOUND)
    if not key_covers(caller.key, image_id):
        raise Closed(Code.UNAUTHORIZED)
    return image


def barred(places: Collection[Place]) -> dict[Place, Code]:
    """The viewers who may no longer watch."""
    good = still_good({each.caller for each in places})
    ids = {each.image_id for each in places if each.image_id}
    images = Image.objects.only("id", "public", "owner_id").in_bulk(ids)
    found = {each: Code.UNAUTHORIZED for each in places if each.caller not in good}
    by_office: list[Place] = []
    for each in places:
        if each in found or each.image_id is None:
            continue
        image = images.get(each.image_id)
        if image is not None and may_read(each.caller, image):
            continue
        if image is not None and each.caller.session and isinstance(each.caller.user, User):
            by_office.append(each)
        found[each] = Code.NOT_FOUND
    if by_office:
        able = overseers({each.caller.user.pk for each in by_office if each.caller.user.pk})
        for each in by_office:
            if each.caller.user.pk in able:
                del found[each]
    return found


class Gate:
    """The viewers of one event loop."""

    def __init__(self) -> None:
        self._places: set[Place] = set()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, caller: Caller, image_id: UUID | None) -> Iterator[Place]:
        """Within the block, `barred` of the place gets a result when the viewer may no longer
        watch."""
        loop = asyncio.get_running_loop()
        place = Place(caller, image_id, loop.create_future())
        self._places.add(place)
        if self._task is None or self._task.done() or self._task.cancelling():
            self._task = loop.create_task(self._run())
        try:
            yield place
        finally:
            self._places.discard(place)
            place.barred.cancel()
            if not self._places:
                self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ASK_SECONDS)
            try:
                found = await in_reader(barred, list(self._places))
            except OUTAGES:
                logger.warning("the database is away; viewers are not asked for their papers")
                continue
            for place, code in found.items():
                if not place.barred.done():
                    place.barred.set_result(code)


async def while_allowed(
    caller: Caller, image_id: UUID, source: AsyncIterator[bytes], *, last: bytes = b""
) -> AsyncIterator[bytes]:
    """Yields from `source` while the caller may read the image.

    The caller is also checked before the first piece, because the key may have been looked up a
    moment ago. When access ends, `last` is the final piece. Without `last`, CutShort is raised,
    which closes the connection: an answer of known length cannot end early in another way.
    """
    pieces = aiter(source)
    try:
        with gate().watching(caller, image_id) as place:
            if await in_reader(barred, [place]):
                place.barred.set_result(Code.UNAUTHORIZED)
            while not place.barred.done():
                following = asyncio.ensure_future(anext(pieces, None))
                try:
                    both: set[asyncio.Future[Any]] = {following, place.barred}
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not following.done():
                        following.cancel()
                        await asyncio.gather(following, return_exceptions=True)
                if place.barred.done():
                    break
                if (piece := following.result()) is None:
                    return
                yield piece
        if not last:
            raise CutShort(f"the caller may not read image {image_id} any more")
        yield last
    finally:
        await source.aclose()  # type: ignore[attr-defined]


gate = PerLoop(Gate)
"""Returns the instance of the running event loop."""
