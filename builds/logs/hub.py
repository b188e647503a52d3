"""Shares reads of the log store among all readers in this process.

A feed keeps the last lines of one attempt while it has readers. The hub reads all attempts that
pub/sub has announced in one query, and every attempt each SAFETY_SECONDS. Readers that are further
back read the store themselves.
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
"""Pause between two reads of many attempts, however often changes are announced."""
ATTEMPT_SECONDS = 0.01
"""Pause per attempt. With few attempts it applies instead, so that a build's end is seen at
once."""
WINDOW_BYTES = 128 * 1024
WINDOW_LINES = 8_192
logger = getLogger(__name__)


class Feed:
    """The last known state and lines of one attempt, shared by its readers."""

    def __init__(self, image_id: UUID, attempt: int) -> None:
        self.image_id = image_id
        self.attempt = attempt
        self.head: Head | None = None
        """None before the first read, and if the attempt does not exist (any more)."""
        self.line = 0
        """The next line to read. Lines that existed before the first read count as read."""
        self.ended = False
        """All lines were read, and no more will follow."""
        self.reading: dict[int, asyncio.Task[Any]] = {}
        """Reads of readers that are further back, by line."""
        self._seq = 0
        self._window: deque[tuple[Lines, int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def since(self, line: int) -> list[Lines] | None:
        """Lines from `line` on. None if they are no longer in the window, or nothing was read
        yet."""
        if self.head is None or line < self._first:
            return None
        found: list[Lines] = []
        for each, _ in reversed(self._window):  # most readers lack only the last batch
            if each.stop <= line:
                break
            found.append(each.after(line))
        return found[::-1]

    @property
    def changed(self) -> asyncio.Event:
        """An event that is set at the next change after this call."""
        return self._changed

    @property
    def _first(self) -> int:
        return self._window[0][0].start.line if self._window else self.line

    def asks(self) -> Asked:
        """What to read from the store for this feed."""
        return Asked(self.image_id, self.attempt, None if self.head is None else self._seq)

    def take(self, seen: Seen | None) -> bool:
        """Apply the result of a read. True if there may be more lines right now."""
        if seen is None:
            self.head, self.ended = None, True
            self._notify()
            return False
        before, self.head = self.head, seen.head
        if before is None or (not seen.chunks and seen.head.lines > self.line):
            # Skip to the end on the first read, and if the missing chunks are already archived.
            self._window.clear()
            self._bytes = 0
            self.line, self._seq = seen.head.lines, seen.head.chunks
        for first, size, lines in seen.chunks:
            if first != self.line:  # the lines in between were truncated
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
    """One per event loop; a server process has one loop."""

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
        """The attempt's feed, which exists as long as a reader is in the block."""
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
        with suppress(RuntimeError):  # the loop has been closed
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
        """Read the due feeds. Returns the pause until the next read in seconds: longer reads are
        less frequent and cover more attempts."""
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
    """Measured in the thread: a busy event loop may get the result much later."""
    began = monotonic()
    return look(asked), monotonic() - began


hub = PerLoop(Hub)
"""Returns the hub of the running event loop."""
