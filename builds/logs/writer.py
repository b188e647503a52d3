"""The worker's pen: bytes of a running build in, stored lines and a bell out."""

from collections.abc import Callable, Iterable, Sequence
from logging import getLogger
from time import monotonic, sleep

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from builds.build_spec import Stream
from builds.conf import build_settings
from builds.logs.bell import ring
from builds.logs.colours import Colours
from builds.logs.kept import Kept
from builds.logs.lines import LineSplitter, LogLine
from builds.logs.masking import Masker
from builds.logs.spool import Spool
from builds.logs.store import CHUNK_LINES, append, size_of
from builds.models import Build

FLUSH_SECONDS = 0.1
FLUSH_BYTES = 64 * 1024
RETRY_SECONDS = 1.0

logger = getLogger(__name__)


class LogWriter:
    """Writes one attempt's log under the fence of its claim. One thread drives it.

    Flushed 100 ms after the flush before, or at 64 KiB: the caller ticks it at least that often.
    The database being away costs no line: they wait in memory and on disk, and once that is full
    `write` blocks, asking `still_ours` each second (which raises when waiting is of no use). Raises
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
        self._colours = Colours()
        self._still_ours = still_ours
        self._held: list[LogLine] = []
        self._held_bytes = 0
        self._flushed_at = 0.0
        self._retry_at = 0.0
        self._spool = Spool(build_settings().data_dir / "spool")
        self._kept = Kept()
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
        self._hold([self.line(text, stream)])
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
        self._flush()

    def close(self) -> None:
        """What was not stored by now never will be."""
        self._spool.close()

    def _take(self, lines: Sequence[LogLine]) -> None:
        self._hold(self._colours.carry(lines))

    def _hold(self, lines: Sequence[LogLine]) -> None:
        self._held += lines
        self._held_bytes += size_of(lines)

    def _flush_if_due(self) -> None:
        # The first line after a silence goes at once; in a flood each batch waits its 100 ms.
        now = monotonic()
        due = now - self._flushed_at >= FLUSH_SECONDS or self._held_bytes >= FLUSH_BYTES
        if not due or not (self._held or self._spool):
            return
        if now < self._retry_at:
            self._spool_held()
        else:
            self._try_to_flush()
        while self._spool.is_full:
            self._still_ours()
            sleep(RETRY_SECONDS)
            self._try_to_flush()

    def _try_to_flush(self) -> None:
        began = monotonic()
        try:
            self._flush()
        except (OperationalError, InterfaceError) as problem:
            logger.warning("build %s: lines wait for the database: %s", self.build, problem)
            connection.close()
            # A try may take seconds, in which nobody reads what the child prints: not more than
            # half of the time goes into tries.
            self._retry_at = monotonic() + max(RETRY_SECONDS, monotonic() - began)

    def _flush(self) -> None:
        self._spool_held()
        self._flushed_at = monotonic()
        try:
            while self._spool:
                self._store(self._spool.first())
                self._spool.drop()
        finally:
            ring(self.build.image_id)

    def _store(self, batch: Sequence[LogLine]) -> None:
        first, size = self.build.log_lines, self.build.log_bytes
        steps = max(self.steps, self._splitter.steps)
        append(self.build, batch, step=batch[-1].step or 0, steps=steps, gap=self._kept.gap)
        size = self.build.log_bytes - size
        self._kept.add(first=first, lines=len(batch), size=size)

    def _spool_held(self) -> None:
        batch: list[LogLine] = []
        size = 0
        for line in self._held:
            batch.append(line)
            size += len(line.text) + 1
            if size >= FLUSH_BYTES or len(batch) == CHUNK_LINES:
                self._spool.put(batch)
                batch, size = [], 0
        if batch:
            self._spool.put(batch)
        self._held, self._held_bytes = [], 0
