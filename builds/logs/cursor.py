"""Where a reader of a log stands, and what it is given: lines from a cursor on."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from builds.logs.lines import LogLine

CURSOR = re.compile(r"([1-9][0-9]{0,8}):(0|[1-9][0-9]{0,8})(:done)?", re.ASCII)
Made = TypeVar("Made")


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


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Consecutive lines; `start` is the cursor of the first. Shared by readers: never changed."""

    start: Cursor
    lines: list[LogLine]
    gap: int = 0
    """How many lines its only one stands for, where some were left out."""
    _made: dict[object, Any] = field(default_factory=dict, repr=False)

    @property
    def stop(self) -> int:
        """The number of the line after them."""
        return self.start.line + (self.gap or len(self.lines))

    def after(self, line: int) -> "Lines":
        """What of it begins at `line`."""
        if line <= self.start.line:
            return self
        return Lines(Cursor(self.start.attempt, line), self.lines[line - self.start.line :])

    def once(self, make: Callable[["Lines"], Made]) -> Made:
        """What `make` makes of it, which is made for the first reader and kept for the others."""
        if make not in self._made:
            self._made[make] = make(self)
        found: Made = self._made[make]
        return found
