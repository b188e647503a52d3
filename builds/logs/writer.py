"""Writes the log of a running build: takes output and step states, stores lines."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from logging import getLogger
from time import monotonic, sleep
from typing import Any

from django.db import connection
from django.utils import timezone

from builds.build_spec import Step, StepOutput, StepUpdate, Stream
from builds.conf import build_settings
from builds.logs.line_buffer import Spool
from builds.logs.lines import LogLine
from builds.logs.masking import Masker
from builds.logs.pubsub import ring
from builds.logs.segments import Segments
from builds.logs.step_lines import StepLines
from builds.logs.steps import CONTINUED, StepStates
from builds.logs.store import CHUNK_LINES, append, size_of, store_steps
from builds.logs.truncation import Kept
from builds.models import Build
from common.outages import DATABASE_OUTAGES

FLUSH_SECONDS = 0.1
FLUSH_BYTES = 64 * 1024
SIDE_BY_SIDE_BYTES = 1024 * 1024
"""Maximum size in bytes of all lines that wait in segments for the next flush."""
RETRY_SECONDS = 1.0

logger = getLogger(__name__)


class LogWriter:
    """Writes one attempt's log under its fencing token. Use it from one thread.

    Only `update` begins and ends steps; their output has no influence. Lines of parallel steps are
    separated until they are stored, each step under its heading.

    Lines are stored at most every 100 ms, or at 64 KiB, so the caller must tick it at least that
    often. While the database is unavailable, lines wait in memory and on disk. When that is full,
    `write` blocks and calls `still_ours` each second, which raises if there is no point in waiting.
    Raises FenceLost as soon as a write shows that the build was settled elsewhere.
    """

    def __init__(
        self, build: Build, *, secrets: Iterable[str], still_ours: Callable[[], None]
    ) -> None:
        self.build = build
        self._masker = Masker(secrets)
        self._still_ours = still_ours
        self._states = StepStates()
        self._outputs: dict[int | None, StepLines] = {}
        self._segments = Segments(self._continued, lambda: self._states.waiting)
        self._sizes: Counter[int | None] = Counter()
        """Size in bytes of the lines in `_segments`, by step."""
        self._held: list[LogLine] = []
        self._flushed_at = 0.0
        self._retry_at = 0.0
        self._spool = Spool(build_settings().data_dir / "spool")
        self._kept = Kept()

    @property
    def steps(self) -> int:
        """The number of steps. Set it to the build's steps before the first one begins."""
        return self._states.total

    @steps.setter
    def steps(self, steps: Iterable[Step]) -> None:
        self._states = StepStates(steps, self._masker.whole)

    def write(self, output: StepOutput) -> None:
        """Add output of a step. Empty data is a tick."""
        if output.data:
            step = output.step if output.step in self._states else None
            lines = self._outputs.get(step)
            if lines is None:
                lines = self._outputs[step] = StepLines(step, self._masker)
            self._put(lines.feed(output.stream, output.data, timezone.now()))
        self._flush_if_due()

    def update(self, update: StepUpdate) -> None:
        """Apply a step's new state. Repeated or inconsistent updates are ignored."""
        if update.state == "started" or update.state == "cached":  # noqa: PLR1714 - mypy narrows
            cached = update.state == "cached"
            for step in self._states.begin(update.step, update.at, cached=cached):
                self._put_heading(step, "cached" if cached and step == update.step else "")
        else:
            self._states.end(update.step, update.state, update.at)
            self._end_output(update.step)
        self._flush_if_due()

    def complete(self) -> None:
        """The image was built: mark the remaining steps as done."""
        now = timezone.now()
        self._end_outputs()
        for step in self._states.complete(now):
            self._put_heading(step)
        self._flush_if_due()

    def say(self, text: str, stream: Stream = "stdout") -> None:
        """Add a line of Slipway's own, after unfinished lines of the steps."""
        for output in self._outputs.values():
            self._put(output.pause())
        self._take()
        self._held.append(self.line(text, stream))
        self._flush_if_due()

    def line(self, text: str, stream: Stream = "stderr") -> LogLine:
        """Create a line of Slipway's own, masked like all others, without storing it."""
        clean = self._masker.whole(text)
        return LogLine(stream=stream, text=clean, at=timezone.now(), step=self._segments.current)

    def finish(self) -> None:
        """Store everything that was written. Only the line that settles the build may follow.

        Raises OperationalError or InterfaceError if the database is unavailable; then call it
        again.
        """
        self._end_outputs()
        self._flush()

    def close(self) -> None:
        """Discard what was not stored."""
        self._spool.close()

    def _put(self, lines: Sequence[LogLine]) -> None:
        if lines:
            self._segments.put(lines)
            self._sizes[lines[0].step] += size_of(lines)

    def _put_heading(self, step: int, note: str = "") -> None:
        self._put([self._heading(step, note)])

    def _heading(self, step: int, note: str) -> LogLine:
        text = self._states.heading(step, note)
        return LogLine(stream="stdout", text=text, at=timezone.now(), step=step, heading=True)

    def _continued(self, step: int) -> LogLine:
        return self._heading(step, CONTINUED)

    def _end_output(self, step: int | None) -> None:
        if (output := self._outputs.pop(step, None)) is not None:
            self._put(output.end(timezone.now()))

    def _end_outputs(self) -> None:
        for step in list(self._outputs):
            self._end_output(step)

    def _take(self) -> None:
        self._held += self._segments.take()
        self._sizes.clear()

    def _flush_if_due(self) -> None:
        # The first line after a pause is stored at once; in a flood, batches wait for 100 ms.
        now = monotonic()
        if now - self._flushed_at >= FLUSH_SECONDS or self._sizes.total() >= SIDE_BY_SIDE_BYTES:
            self._show_unended()
            self._take()
            if self._held or self._spool or self._states.changed:
                self._flushed_at = now
                self._store_or_spool(now)
        elif self._sizes[self._segments.current] >= FLUSH_BYTES:
            # Lines of other steps keep waiting; otherwise two busy steps would alternate endlessly.
            self._held += self._segments.take_current()
            del self._sizes[self._segments.current]
            self._store_or_spool(now)

    def _store_or_spool(self, now: float) -> None:
        if now < self._retry_at:
            self._spool_held()
        else:
            self._try_to_flush()
        while self._spool.is_full:
            self._still_ours()
            sleep(RETRY_SECONDS)
            self._try_to_flush()

    def _show_unended(self) -> None:
        """Show unfinished lines after a while, including those of steps that are silent now."""
        at = timezone.now()
        for output in self._outputs.values():
            self._put(output.feed("stdout", b"", at))

    def _try_to_flush(self) -> None:
        began = monotonic()
        try:
            self._store_held()
        except DATABASE_OUTAGES as problem:
            logger.warning("build %s: lines wait for the database: %s", self.build, problem)
            connection.close()
            # An attempt may take seconds in which the child's output is not read, so at most half
            # of the time is spent on attempts.
            self._retry_at = monotonic() + max(RETRY_SECONDS, monotonic() - began)

    def _flush(self) -> None:
        self._take()
        self._store_held()

    def _store_held(self) -> None:
        self._spool_held()
        try:
            while self._spool:
                self._store(self._spool.first())
                self._spool.drop()
            if self._states.changed:
                store_steps(self.build, **self._standing())
                self._states.stored()
        finally:
            ring(self.build.image_id)

    def _store(self, batch: Sequence[LogLine]) -> None:
        first, size = self.build.log_lines, self.build.log_bytes
        append(self.build, batch, **self._standing(), gap=self._kept.gap)
        self._states.stored()
        size = self.build.log_bytes - size
        self._kept.add(first=first, lines=len(batch), size=size)

    def _standing(self) -> dict[str, Any]:
        """Progress of the steps, as arguments for the store."""
        states = self._states
        return {"step": states.current, "steps": states.total, "facts": states.facts()}

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
        self._held = []
