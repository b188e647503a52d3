"""Limits the bytes received at once: in total, per caller, and by free disk space."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from common.error_codes import NO_DISK, SERVER_BUSY, UPLOADS_EXCEEDED, CodedError

MEMORY_BYTES = 64 * 1024
"""Bodies up to this size are accepted from anybody on any route. They stay in memory."""
COPIES = 2
"""A file in a form is on disk twice: in the body, and as the file that the parser extracts."""
STEP_BYTES = 4 * 1024 * 1024
"""Step in which disk space is claimed for a body without a Content-Length."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A body that may be received: its limit in bytes, and the caller it counts for."""

    limit: int
    caller: str = ""


class NoRoom(CodedError):
    """A body cannot be received now. The message says why."""


class Uploads:
    """Disk budget of the bodies whose requests have not ended. Not thread-safe."""

    def __init__(self, folder: Path, *, total: int, per_caller: int, free: int) -> None:
        self.folder, self.total, self.per_caller, self.free = folder, total, per_caller, free
        self.held = 0
        self.by_caller: Counter[str] = Counter()
        self.to_come = 0
        """The part of `held` that is not written yet, so still counted as free by the disk."""

    def claim(self, caller: str, size: int) -> None:
        """Reserve `size` bytes for a caller. If it raises NoRoom, nothing is reserved."""
        if self.held + size > self.total:
            raise NoRoom(SERVER_BUSY)
        if self.by_caller[caller] + size > self.per_caller:
            raise NoRoom(UPLOADS_EXCEEDED)
        if self._left() - self.to_come - COPIES * size < self.free:
            raise NoRoom(NO_DISK)
        self.held += size
        self.to_come += size
        self.by_caller[caller] += size

    def written(self, size: int) -> None:
        """Record that `size` claimed bytes are on disk. Raises NoRoom if the disk is full."""
        self.to_come -= size
        if self._left() < self.free:
            raise NoRoom(NO_DISK)

    def release(self, caller: str, size: int, *, unwritten: int) -> None:
        """Return `size` claimed bytes, of which `unwritten` were never written."""
        self.held -= size
        self.to_come -= unwritten
        self.by_caller[caller] -= size
        if self.by_caller[caller] <= 0:
            del self.by_caller[caller]

    def _left(self) -> int:
        there = os.statvfs(self.folder)
        return there.f_bavail * there.f_frsize
