"""The worker's pen: bytes of a running build in, stored lines and a bell out."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from logging import getLogger
from time import monotonic, sleep

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from builds.logs.bell import ring
from builds.logs.lines import LineSplitter, LogLine
from builds.logs.masking import Masker
from builds.logs.store import CHUNK_LINES, append
from builds.models import Build
from builds.orders import Stream

FLUSH_SECONDS = 0.1
FLUSH_BYTES = 64 * 1024
HELD_BYTES = 1024 * 1024
"""With more than this waiting for the database, the build waits too."""
CAP_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 48 * 1024 * 1024
"""Of a longer log this much of its beginning stays, and of its end the rest of CAP_BYTES."""

logger = getLogger(__name__)


class LogWriter:
    """Writes one attempt's log under the fence of its claim. One thread drives it.

    Flushed 100 ms after the flush before, or at 64 KiB: the caller ticks it at least that often.
    The database being away costs no line: what is held stays held, and past HELD_BYTES `write`
    blocks, asking `still_ours` each second (which raises when waiting is of no use). Raises
    FenceLost as soon as a write shows that somebody else settled the build.
    """

    def __init__(
        self, build: Build, *, secrets: Iterable[str], still_ours: Callable[[], None]
    ) -> None:
        self.build = build
        self._masker: dict[Stream, Masker] = {
            "stdout": Masker(secrets),
            "stderr": Masker(secrets),
        }
        self._splitter = LineSplitter()
        self._still_ours = still_ours
        self._held: list[LogLine] = []
        self._held_bytes = 0
        self._flushed_at = 0.0
        self._tail: deque[LogLine] = deque()
        self._tail_bytes = 0
        self._cut = 0
        self.steps = 0
        """As many as the Dockerfile has; what the engine says may exceed it."""

    def write(self, stream: Stream, data: bytes) -> None:
        """Takes what the child wrote; empty data is a tick."""
        masked = self._masker[stream].feed(data) if data else b""
        self._take(self._splitter.feed(stream, masked, timezone.now()))
        self._flush_if_due()

    def say(self, text: str, stream: Stream = "stdout") -> None:
        """A line of Slipway's own, after whatever the child had begun."""
        self._take(self._splitter.flush())
        self._take([self.line(text, stream)])
        self._flush_if_due()

    def line(self, text: str, stream: Stream = "stderr") -> LogLine:
        """A line of Slipway's own, masked like any other, not stored."""
        masker = Masker(self._masker[stream].secrets)
        clean = (masker.feed(text.encode()) + masker.flush()).decode(errors="replace")
        return LogLine(stream=stream, text=clean, at=timezone.now(), step=self._splitter.step)

    def finish(self) -> None:
        """Stores everything that was written; only the line that settles the build may follow.

        Raises OperationalError or InterfaceError when the database is away; then call it again.
        """
        now = timezone.now()
        for stream in self._masker:
            self._take(self._splitter.feed(stream, self._masker[stream].flush(), now))
        self._take(self._splitter.flush())
        if self._cut:
            self._hold([self.line(f"… {self._cut} lines left out: the log was too long …")])
            self._cut = 0
        self._hold(list(self._tail))
        self._tail.clear()
        self._flush()

    def _take(self, lines: Sequence[LogLine]) -> None:
        if self.build.log_bytes + self._held_bytes < HEAD_BYTES:
            self._hold(lines)
            return
        for line in lines:
            self._tail.append(line)
            self._tail_bytes += len(line.text) + 1
            while self._tail_bytes > CAP_BYTES - HEAD_BYTES:
                self._tail_bytes -= len(self._tail.popleft().text) + 1
                self._cut += 1

    def _hold(self, lines: Sequence[LogLine]) -> None:
        self._held += lines
        self._held_bytes += sum(len(line.text) + 1 for line in lines)

    def _flush_if_due(self) -> None:
        # The first line after a silence goes at once; in a flood each batch waits its 100 ms.
        due = monotonic() - self._flushed_at >= FLUSH_SECONDS or self._held_bytes >= FLUSH_BYTES
        while self._held and due:
            try:
                self._flush()
            except (OperationalError, InterfaceError) as problem:
                logger.warning("build %s: lines wait for the database: %s", self.build, problem)
                connection.close()
            due = self._held_bytes > HELD_BYTES
            if due:
                self._still_ours()
                sleep(1.0)

    def _flush(self) -> None:
        self._flushed_at = monotonic()
        while self._held:
            batch = self._held[:CHUNK_LINES]
            steps = max(self.steps, self._splitter.steps)
            append(self.build, batch, step=self._splitter.step or 0, steps=steps)
            del self._held[: len(batch)]
            self._held_bytes -= sum(len(line.text) + 1 for line in batch)
            ring(self.build.image_id)
