"""Writes the log of a running build: output and states of its steps in, stored lines out."""

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
"""Of lines of all steps together that wait for their 100 ms."""
RETRY_SECONDS = 1.0

logger = getLogger(__name__)


class LogWriter:
    """Writes one attempt's log under the fence of its claim. One thread drives it.

    Steps begin, end and are counted by `update` alone, whatever the output says. Lines of steps
    that run side by side are kept apart until they are stored, each step under a heading.

    Stored 100 ms after the time before, or at 64 KiB: the caller ticks it at least that often.
    The database being away costs no line: they wait in memory and on disk, and once that is full
    `write` blocks, asking `still_ours` each second (which raises when waiting is of no use). Raises
    FenceLost as soon as a write shows that somebody else settled the build.
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
        """Of the lines in `_segments`, by step."""
        self._held: list[LogLine] = []
        self._flushed_at = 0.0
        self._retry_at = 0.0
        self._spool = Spool(build_settings().data_dir / "spool")
        self._kept = Kept()

    @property
    def steps(self) -> int:
        """How many there are. Set to the steps of the build before the first of them begins."""
        return self._states.total

    @steps.setter
    def steps(self, steps: Iterable[Step]) -> None:
        self._states = StepStates(steps, self._masker.whole)

    def write(self, output: StepOutput) -> None:
        """Takes what a step wrote; empty data is a tick."""
        if output.data:
            step = output.step if output.step in self._states else None
            lines = self._outputs.get(step)
            if lines is None:
                lines = self._outputs[step] = StepLines(step, self._masker)
            self._put(lines.feed(output.stream, output.data, timezone.now()))
        self._flush_if_due()

    def update(self, update: StepUpdate) -> None:
        """Takes a step's new state. One that was taken before, or makes no sense, is ignored."""
        if update.state == "started" or update.state == "cached":  # noqa: PLR1714 - mypy narrows
            cached = update.state == "cached"
            for step in self._states.begin(update.step, update.at, cached=cached):
                self._put_heading(step, "cached" if cached and step == update.step else "")
        else:
            self._states.end(update.step, update.state, update.at)
            self._end_output(update.step)
        self._flush_if_due()

    def complete(self) -> None:
        """The engine has made its image: whatever is left of the steps is done."""
        now = timezone.now()
        self._end_outputs()
        for step in self._states.complete(now):
            self._put_heading(step)
        self._flush_if_due()

    def say(self, text: str, stream: Stream = "stdout") -> None:
        """A line of Slipway's own, after whatever the steps had begun."""
        for output in self._outputs.values():
            self._put(output.pause())
        self._take()
        self._held.append(self.line(text, stream))
        self._flush_if_due()

    def line(self, text: str, stream: Stream = "stderr") -> LogLine:
        """A line of Slipway's own, masked like any other, not stored."""
        clean = self._masker.whole(text)
        return LogLine(stream=stream, text=clean, at=timezone.now(), step=self._segments.current)

    def finish(self) -> None:
        """Stores everything that was written; only the line that settles the build may follow.

        Raises OperationalError or InterfaceError when the database is away; then call it again.
        """
        self._end_outputs()
        self._flush()

    def close(self) -> None:
        """What was not stored by now never will be."""
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
        # The first line after a silence goes at once; in a flood each batch waits its 100 ms.
        now = monotonic()
        if now - self._flushed_at >= FLUSH_SECONDS or self._sizes.total() >= SIDE_BY_SIDE_BYTES:
            self._show_unended()
            self._take()
            if self._held or self._spool or self._states.changed:
                self._flushed_at = now
                self._store_or_spool(now)
        elif self._sizes[self._segments.current] >= FLUSH_BYTES:
            # Those of other steps wait on, or two that print much would alternate without end.
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
        """Lines without an end become visible after a while, also of a step that is silent now."""
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
            # A try may take seconds, in which nobody reads what the child prints: not more than
            # half of the time goes into tries.
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
        """How far the steps are, as the head of the build is to have it."""
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
