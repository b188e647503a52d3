"""Orders the lines of steps that run in parallel into segments of one step each.

Each segment starts with a heading. Within a step the order of lines is kept.
"""

from collections.abc import Callable, Iterator, Sequence

from builds.logs.lines import LogLine

SEGMENTS = 1_000
"""Maximum number of segments with a heading."""


class Segments:
    """Lines waiting to be stored, by step.

    `continued` creates the heading of a step that was interrupted by another. `reserved` returns
    how many headings to keep free for steps that have not begun.
    """

    def __init__(self, continued: Callable[[int], LogLine], reserved: Callable[[], int]) -> None:
        self.current: int | None = None
        """The step of the last heading that was returned."""
        self._continued = continued
        self._reserved = reserved
        self._headings = 0
        self._waiting: dict[int | None, list[LogLine]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, lines: Sequence[LogLine]) -> None:
        """Add lines of one step, after its earlier lines."""
        if lines:
            self._waiting.setdefault(lines[0].step, []).extend(lines)

    def take_current(self) -> list[LogLine]:
        """Return the lines of the current step, which need no heading."""
        return self._waiting.pop(self.current, [])

    def take(self) -> list[LogLine]:
        """Return all lines, step by step, with headings."""
        waiting, self._waiting = self._waiting, {}
        taken = [] if self.current is None else waiting.pop(self.current, [])
        for step, lines in waiting.items():
            taken += self._begun(step, lines)
        return taken

    def _begun(self, step: int | None, lines: list[LogLine]) -> Iterator[LogLine]:
        if step is not None and step != self.current:
            if not lines[0].heading and self._headings + self._reserved() < SEGMENTS:
                self._headings += 1
                yield self._continued(step)
            self._headings += lines[0].heading
            self.current = step
        yield from lines
