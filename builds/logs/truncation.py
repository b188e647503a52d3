"""Truncation of long logs: the beginning and the end are kept."""

from collections import deque

MIB = 1024 * 1024
HEAD_BYTES = 16 * MIB
HEAD_LINES = 250_000
TAIL_BYTES = 48 * MIB
TAIL_LINES = 750_000
SLACK = 48
"""Dropping starts when the tail exceeds its limit by 1/48, so that it does not happen at each
chunk."""


class Kept:
    """Counts the stored chunks of one log and computes the gap."""

    def __init__(self) -> None:
        self.gap = (0, 0)
        """Line range to delete, as (start, stop) with stop exclusive; (0, 0) for none."""
        self._head_bytes = self._head_lines = 0
        self._tail: deque[tuple[int, int, int]] = deque()
        self._tail_bytes = self._tail_lines = 0

    def add(self, *, first: int, lines: int, size: int) -> None:
        """Count a stored chunk, with `size` in bytes, and update `gap`."""
        if not self._tail and self._head_bytes < HEAD_BYTES and self._head_lines < HEAD_LINES:
            self._head_bytes += size
            self._head_lines += lines
            return
        self._tail.append((first, lines, size))
        self._tail_bytes += size
        self._tail_lines += lines
        if self._is_over(SLACK + 1):
            while self._is_over(SLACK):
                _, lines, size = self._tail.popleft()
                self._tail_bytes -= size
                self._tail_lines -= lines
            self.gap = (self._head_lines, self._tail[0][0])

    def _is_over(self, shares: int) -> bool:
        bytes_over = self._tail_bytes * SLACK > TAIL_BYTES * shares
        return len(self._tail) > 1 and (
            bytes_over or self._tail_lines * SLACK > TAIL_LINES * shares
        )
