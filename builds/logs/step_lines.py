"""Converts the output of one step to lines: mask secrets, split lines, carry styles over."""

from collections.abc import Sequence
from datetime import datetime

from builds.build_spec import Stream
from builds.logs.ansi_state import Colours
from builds.logs.lines import LineSplitter, LogLine
from builds.logs.masking import Masker


class StepLines:
    """Both streams of one step, or of output that belongs to no step."""

    def __init__(self, step: int | None, masker: Masker) -> None:
        self._maskers: dict[Stream, Masker] = {
            "stdout": masker.fresh(),
            "stderr": masker.fresh(),
        }
        self._splitter = LineSplitter(step)
        self._colours = Colours()

    def feed(self, stream: Stream, data: bytes, at: datetime) -> Sequence[LogLine]:
        """See `LineSplitter.feed`."""
        masked = self._maskers[stream].feed(data) if data else b""
        return self._colours.carry(self._splitter.feed(stream, masked, at))

    def pause(self) -> Sequence[LogLine]:
        """Unfinished lines, except a tail that may be the beginning of a secret."""
        return self._colours.carry(self._splitter.flush())

    def end(self, at: datetime) -> Sequence[LogLine]:
        """All remaining lines."""
        lines: list[LogLine] = []
        for stream, masker in self._maskers.items():
            lines += self._splitter.feed(stream, masker.flush(), at)
        return self._colours.carry([*lines, *self._splitter.flush()])
