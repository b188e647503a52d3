"""Selects lines of a log by stream, step, time or position from the end."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from builds.logs.cursor import Cursor, Lines
from builds.logs.lines import LogLine
from builds.logs.reader import page
from builds.logs.reader_threads import in_reader
from builds.status import Status

RETRIES = 50
RETRY_SECONDS = 0.1
"""Lines are unreadable for a moment while they are moved to the archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFilter:
    """Which lines to select. None selects all."""

    since: datetime | None = None
    step: int | None = None
    stream: str | None = None

    @property
    def takes_all(self) -> bool:
        return self == ALL

    def numbered(self, lines: Lines) -> Iterator[tuple[int, LogLine]]:
        """The selected lines, each with its number."""
        for number, line in enumerate(lines.lines, lines.start.line):
            if self._takes(line):
                yield number, line

    def _takes(self, line: LogLine) -> bool:
        return (
            (self.since is None or line.at >= self.since)
            and (self.step is None or line.step == self.step)
            and (self.stream is None or line.stream == self.stream)
        )


ALL = LineFilter()


async def snapshot(image_id: UUID, cursor: Cursor) -> AsyncGenerator[Lines, None]:
    """The existing lines from `cursor` on, continuing in the next attempt after a lost one.

    Lines written after the first read of an attempt are left out, so that the iteration ends.
    """
    lost = True
    attempt, at = cursor.attempt, cursor.line
    while lost:
        lost, end, retries = False, None, 0
        while found := await in_reader(page, image_id, attempt=attempt, line=at):
            end = found.head.lines if end is None else end
            lost = found.head.status is Status.LOST
            if at >= end or retries > RETRIES:
                break
            if not found.lines:
                retries += 1
                await asyncio.sleep(RETRY_SECONDS)
                continue
            yield Lines(Cursor(attempt, at), found.lines, found.gap)
            at = found.stop
        attempt, at = attempt + 1, 0


async def tail_start(image_id: UUID, cursor: Cursor, wanted: LineFilter, count: int) -> Cursor:
    """The cursor of the last `count` selected lines, or the end if no line is selected."""
    last: deque[Cursor] = deque(maxlen=count)
    end = cursor
    source: AsyncIterator[Lines] = snapshot(image_id, cursor)
    async for lines in source:
        attempt = lines.start.attempt
        last.extend(Cursor(attempt, number) for number, _ in wanted.numbered(lines))
        end = Cursor(attempt, lines.stop)
    return last[0] if last else end
