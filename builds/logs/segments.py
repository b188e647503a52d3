"""Puts the lines of steps that run side by side in order: some of one step, then of another.

Before the lines of each step stands its heading. Within a step the lines keep their order.
"""

from collections.abc import Callable, Iterator, Sequence

from builds.logs.lines import LogLine

SEGMENTS = 1_000
"""Runs of lines of one step that have a heading."""


class Segments:
    """Lines that wait to be stored, by step.

    `continued` makes the heading for a step whose lines were interrupted by those of others;
    `reserved` says how many headings must be left for steps that have not begun.
    """

    def __init__(self, continued: Callable[[int], LogLine], reserved: Callable[[], int]) -> None:
        self.current: int | None = None
        """The step of the last heading that was taken."""
        self._continued = continued
        self._reserved = reserved
        self._headings = 0
        self._waiting: dict[int | None, list[LogLine]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, lines: Sequence[LogLine]) -> None:
        """Lines of one step, after all that it had before."""
        if lines:
            self._waiting.setdefault(lines[0].step, []).extend(lines)

    def take_current(self) -> list[LogLine]:
        """What needs no heading: the lines of the step that the last ones were of."""
        return self._waiting.pop(self.current, [])

    def take(self) -> list[LogLine]:
        """All of them, step by step."""
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
