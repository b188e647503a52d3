"""One reader's way through an image's log, live or finished, from a cursor on."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from builds.logs.hub import HUB
from builds.logs.lines import LogLine
from builds.logs.reading import in_reader
from builds.logs.store import page
from builds.status import Status

KEEPALIVE_SECONDS = 15.0
CURSOR = re.compile(r"([1-9][0-9]{0,8}):(0|[1-9][0-9]{0,8})(:done)?", re.ASCII)


class BadCursor(ValueError):
    """Not a cursor that was ever given out."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next line to read: `attempt:line`; with `done`, what follows the last one."""

    attempt: int
    line: int
    done: bool = False

    def __str__(self) -> str:
        return f"{self.attempt}:{self.line}{':done' if self.done else ''}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        found = CURSOR.fullmatch(text)
        if found is None:
            raise BadCursor(f"{text!r} is not a cursor: take it from an earlier answer")
        return cls(int(found[1]), int(found[2]), found[3] is not None)


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines; `start` is the cursor of the first."""

    start: Cursor
    lines: list[LogLine]


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing came for KEEPALIVE_SECONDS."""


@dataclass(frozen=True, slots=True)
class Done:
    """The attempt is over and every line was delivered. Nothing follows."""

    cursor: Cursor
    api_status: str


async def follow(image_id: UUID, cursor: Cursor) -> AsyncIterator[Lines | Silence | Done]:
    """Each line from `cursor` on, once and in order, until the attempt has ended.

    An attempt that was lost has a successor, and the reader goes on into it. The attempt that the
    cursor names must exist: the caller has looked.
    """
    heard = monotonic()
    with HUB.watch(image_id) as watch:
        while True:
            found = await in_reader(page, image_id, attempt=cursor.attempt, line=cursor.line)
            if found is None or found.ended:
                if found is not None and found.status is Status.LOST:
                    cursor = Cursor(cursor.attempt + 1, 0)
                    continue
                word = found.api_status if found else "error: the attempt is gone"
                yield Done(Cursor(cursor.attempt, cursor.line, done=True), word)
                return
            if found.lines:
                yield Lines(cursor, found.lines)
                cursor = Cursor(cursor.attempt, cursor.line + len(found.lines))
                heard = monotonic()
                continue
            await watch.wait()
            if monotonic() - heard >= KEEPALIVE_SECONDS:
                yield Silence()
                heard = monotonic()
