"""Follows an image's log from a cursor on, live or finished."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from logging import getLogger
from time import monotonic
from typing import Any
from uuid import UUID

from builds.logs.cursor import Cursor, Lines
from builds.logs.hub import Feed, hub
from builds.logs.reader import Head, Page, page
from builds.logs.reader_threads import in_reader
from builds.status import Status
from common.outages import OUTAGES

KEEPALIVE_SECONDS = 15.0
AWAY_SECONDS = 60.0
"""How long a reader waits for an unavailable database before its stream ends with an error."""
MOVED_SECONDS = 0.05
"""Delay before a retry when lines were just truncated or archived."""
GONE = "error: the attempt is gone"
logger = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """Progress of the attempt. Sent first, and on every change."""

    attempt: int
    head: Head
    steps: list[list[Any]]
    """`[number, state, began, ended]` of steps that changed since the last one; times in
    microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Silence:
    """No output for the requested time, in seconds."""


@dataclass(frozen=True, slots=True)
class Done:
    """The attempt has ended and all lines were delivered. This is the last item."""

    cursor: Cursor
    status: Status | None
    """None if the attempt no longer exists."""
    api_status: str


Told = Lines | Standing | Silence | Done


async def follow(
    image_id: UUID, cursor: Cursor, *, silence: float = KEEPALIVE_SECONDS
) -> AsyncGenerator[Told, None]:
    """Yield every line from `cursor` on, once and in order, until the attempt has ended.

    After a lost attempt it continues with the next attempt. The caller must have checked that the
    attempt of the cursor exists.
    """
    while True:
        done: Done | None = None
        async with aclosing(_attempt(image_id, cursor, silence)) as attempt:
            async for told in attempt:
                if isinstance(told, Done):
                    done = told
                else:
                    yield told
        if done is None or done.status is not Status.LOST:
            break
        cursor = Cursor(done.cursor.attempt + 1, 0)
    if done is not None:
        yield done


async def _attempt(image_id: UUID, cursor: Cursor, silence: float) -> AsyncGenerator[Told, None]:
    attempt, line = cursor.attempt, cursor.line
    told_head: Head | None = None
    heard = monotonic()
    with hub().join(image_id, attempt) as feed:
        while True:
            changed = feed.changed
            batches, head, ended = await _next(feed, line)
            if head is not None and (told_head is None or not head.stands_as(told_head)):
                changed_steps = head.steps_since(told_head)
                told_head = head
                yield Standing(attempt, head, changed_steps)
            if ended:
                status = head.status if head else None
                end = Cursor(attempt, line, done=True)
                yield Done(end, status, head.api_status if head else GONE)
                return
            for each in batches:
                yield each
                line = each.stop
                heard = monotonic()
                # Yield to the event loop, so that a fast reader does not starve the others.
                await asyncio.sleep(0)
            if batches:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0, silence - (monotonic() - heard))):
                    await changed.wait()
            if monotonic() - heard >= silence:
                yield Silence()
                heard = monotonic()


async def _next(feed: Feed, line: int) -> tuple[list[Lines], Head | None, bool]:
    """Lines from `line` on, the attempt's head, and whether the log is complete."""
    found = feed.since(line)
    if found is not None:
        return found, feed.head, feed.ended and not found
    while True:
        reading, is_own = feed.reading.get(line), False
        if reading is None:
            reading = feed.reading[line] = asyncio.create_task(_read(feed, line))
            is_own = True
        lines, head, ended = await asyncio.shield(reading)
        # A read that another reader started earlier may have missed lines, so an empty result is
        # not final.
        if is_own or lines or ended:
            return lines, head, ended


async def _read(feed: Feed, line: int) -> tuple[list[Lines], Head | None, bool]:
    """Same as `_next`, from the store. One read serves all readers at that line."""
    try:
        own = await _page(feed, line)
    finally:
        del feed.reading[line]
    if own is None:
        return [], None, True
    lines = [Lines(Cursor(feed.attempt, line), own.lines, own.gap)] if own.lines else []
    return lines, own.head, own.ended


async def _page(feed: Feed, line: int) -> Page | None:
    until = monotonic() + AWAY_SECONDS
    while True:
        try:
            found = await in_reader(page, feed.image_id, attempt=feed.attempt, line=line)
            if found is None or found.lines or found.first >= found.head.lines:
                return found
            await asyncio.sleep(MOVED_SECONDS)
        except OUTAGES:
            if monotonic() > until:
                raise
            logger.warning("database or storage is away; a reader waits")
            await asyncio.sleep(1)
