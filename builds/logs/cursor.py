"""Positions in a log, and batches of lines that readers get."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from builds.logs.lines import LogLine

CURSOR = re.compile(r"([1-9][0-9]{0,8}):(0|[1-9][0-9]{0,8})(:done)?", re.ASCII)
Made = TypeVar("Made")


class BadCursor(ValueError):
    """The text is not a valid cursor."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next line to read, as `attempt:line`. With `done`, the end of the log."""

    attempt: int
    line: int
    done: bool = False

    def __str__(self) -> str:
        return f"{self.attempt}:{self.line}{':done' if self.done else ''}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse a cursor. Raises BadCursor."""
        found = CURSOR.fullmatch(text)
        if found is None:
            raise BadCursor(f"{text!r} is not a cursor: take it from an earlier answer")
        return cls(int(found[1]), int(found[2]), found[3] is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Consecutive lines from `start` on. Shared by readers, so never modified."""

    start: Cursor
    lines: list[LogLine]
    gap: int = 0
    """If lines were truncated, the number of lines that the single line stands for."""
    _made: dict[object, Any] = field(default_factory=dict, repr=False)

    @property
    def stop(self) -> int:
        """Number of the last line plus 1."""
        return self.start.line + (self.gap or len(self.lines))

    def after(self, line: int) -> "Lines":
        """The part from `line` on."""
        if line <= self.start.line:
            return self
        return Lines(Cursor(self.start.attempt, line), self.lines[line - self.start.line :])

    def once(self, make: Callable[["Lines"], Made]) -> Made:
        """The result of `make(self)`, cached so that it is computed only once for all readers."""
        if make not in self._made:
            self._made[make] = make(self)
        found: Made = self._made[make]
        return found
