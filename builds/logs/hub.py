"""One look at the store for everybody: what this process's readers watch, kept while they do.

A feed holds the last lines of one attempt. The hub looks at all attempts for which the bell rang
in one go, and at every one each SAFETY_SECONDS. A reader further back reads the store itself.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from time import monotonic
from typing import Any
from uuid import UUID

from builds.logs.cursor import Cursor, Lines
from builds.logs.pubsub import BELL, SAFETY_SECONDS
from builds.logs.reader import Asked, Head, Seen, look
from builds.logs.reader_threads import in_reader
from common.outages import OUTAGES
from common.per_loop import PerLoop

GAP_SECONDS = 0.05
"""Between two looks at many attempts, however often the bell rings."""
ATTEMPT_SECONDS = 0.01
"""Likewise for each attempt where there are few: a build's last look follows the one before at
once."""
WINDOW_BYTES = 128 * 1024
WINDOW_LINES = 8_192
logger = getLogger(__name__)


class Feed:
    """One attempt as it was last seen, shared by its readers."""

    def __init__(self, image_id: UUID, attempt: int) -> None:
        self.image_id = image_id
        self.attempt = attempt
        self.head: Head | None = None
        """None before the first look, and for an attempt that is not there (any more)."""
        self.line = 0
        """The first line that was not seen yet. Lines before the first look count as seen."""
        self.ended = False
        """All lines were seen, and none will follow."""
        self.reading: dict[int, asyncio.Task[Any]] = {}
        """What readers who are further back are reading from the store, by line."""
        self._seq = 0
        self._window: deque[tuple[Lines, int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def since(self, line: int) -> list[Lines] | None:
        """Lines from `line` on; None where they are too far back, or nothing was seen yet."""
        if self.head is None or line < self._first:
            return None
        found: list[Lines] = []
        for each, _ in reversed(self._window):  # most readers have all but the last
            if each.stop <= line:
                break
            found.append(each.after(line))
        return found[::-1]

    @property
    def changed(self) -> asyncio.Event:
        """Set when something of the feed changes after this was asked for."""
        return self._changed

    @property
    def _first(self) -> int:
        return self._window[0][0].start.line if self._window else self.line

    def asks(self) -> Asked:
        return Asked(self.image_id, self.attempt, None if self.head is None else self._seq)

    def take(self, seen: Seen | None) -> bool:
        """Notes what a look found; True when there may be more at once."""
        if seen is None:
            self.head, self.ended = None, True
            self._notify()
            return False
        before, self.head = self.head, seen.head
        if before is None or (not seen.chunks and seen.head.lines > self.line):
            # Nothing before the first look, and no chunk that is archived by now, is caught up on.
            self._window.clear()
            self._bytes = 0
            self.line, self._seq = seen.head.lines, seen.head.chunks
        for first, size, lines in seen.chunks:
            if first != self.line:  # what was between was left out meanwhile
                self._window.clear()
                self._bytes = 0
                self.line = first
            self._add(Lines(Cursor(self.attempt, first), lines), size)
        self.ended = seen.head.final and self.line >= seen.head.lines
        if before != self.head or seen.chunks:
            self._notify()
        return self.line < seen.head.lines

    def _add(self, lines: Lines, size: int) -> None:
        self._window.append((lines, size))
        self._bytes += size
        self.line += len(lines.lines)
        self._seq += 1
        while len(self._window) > 1 and (
            self._bytes > WINDOW_BYTES or self.line - self._first > WINDOW_LINES
        ):
            self._bytes -= self._window.popleft()[1]

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Hub:
    """One for each event loop, of which a serving process has one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._feeds: dict[tuple[UUID, int], Feed] = {}
        self._readers: Counter[Feed] = Counter()
        self._rung: set[UUID] = set()
        self._unread: set[Feed] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def join(self, image_id: UUID, attempt: int) -> Iterator[Feed]:
        """The attempt's feed, which lasts as long as somebody is in the block."""
        feed = self._feeds.setdefault((image_id, attempt), Feed(image_id, attempt))
        self._readers[feed] += 1
        if feed.head is None:
            self._unread.add(feed)
            self._wake.set()
        if self._task is None or self._task.done() or self._task.cancelling():
            self._task = self._loop.create_task(self._run())
        try:
            yield feed
        finally:
            self._readers[feed] -= 1
            if not self._readers[feed]:
                del self._readers[feed], self._feeds[image_id, attempt]
                self._unread.discard(feed)
            if not self._feeds:
                self._task.cancel()

    def _heard(self, image_id: UUID) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._note, image_id)

    def _note(self, image_id: UUID) -> None:
        self._rung.add(image_id)
        self._wake.set()

    async def _run(self) -> None:
        everything_at = 0.0
        with BELL.heard_by(self._heard):
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SAFETY_SECONDS):
                        await self._wake.wait()
                self._wake.clear()
                rung, self._rung = self._rung, set()
                everything = monotonic() - everything_at >= SAFETY_SECONDS
                if everything:
                    everything_at = monotonic()
                due = [
                    feed
                    for feed in self._feeds.values()
                    if not feed.ended
                    and (everything or feed in self._unread or feed.image_id in rung)
                ]
                await asyncio.sleep(await self._look(due) if due else ATTEMPT_SECONDS)

    async def _look(self, due: list[Feed]) -> float:
        """Returns how long to rest: as a look at very many builds takes longer, there are fewer
        then, with more in each."""
        try:
            found, seconds = await in_reader(_timed, [feed.asks() for feed in due])
        except OUTAGES:
            logger.warning("the database is away; readers wait", exc_info=True)
            self._unread.update(feed for feed in due if feed in self._readers)
            return SAFETY_SECONDS
        self._unread.difference_update(due)
        for feed in due:
            if feed.take(found.get((feed.image_id, feed.attempt))) and feed in self._readers:
                self._unread.add(feed)
                self._wake.set()
        gap = min(ATTEMPT_SECONDS * len(due), GAP_SECONDS)
        return min(max(gap, seconds), SAFETY_SECONDS)


def _timed(asked: list[Asked]) -> tuple[dict[tuple[UUID, int], Seen], float]:
    """What the look takes itself: a busy loop may only hear of its end much later."""
    began = monotonic()
    return look(asked), monotonic() - began


hub = PerLoop(Hub)
"""Returns the running event loop's."""
