"""How much may be received at once: all together, from one caller, and before the disk is full."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from common.error_codes import NO_DISK, SERVER_BUSY, UPLOADS_EXCEEDED, CodedError

MEMORY_BYTES = 64 * 1024
"""Of a body that anybody may send anywhere. It never comes to the disk."""
COPIES = 2
"""Of a file in a form: the body, and what its parser takes out of it."""
STEP_BYTES = 4 * 1024 * 1024
"""In which a body is accounted for whose length nobody said."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A body that may be received: how much of it, and on whose account."""

    limit: int
    caller: str = ""


class NoRoom(CodedError):
    """A body cannot be received now; the text says why."""


class Uploads:
    """Bytes on the disk of bodies whose requests have not ended. For one thread."""

    def __init__(self, folder: Path, *, total: int, per_caller: int, free: int) -> None:
        self.folder, self.total, self.per_caller, self.free = folder, total, per_caller, free
        self.held = 0
        self.by_caller: Counter[str] = Counter()
        self.to_come = 0
        """Of `held`, what has not been written yet and so is not missing from the free space."""

    def claim(self, caller: str, size: int) -> None:
        """Raises NoRoom, and then nothing is claimed."""
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
        """So much of what was claimed is on the disk. Raises NoRoom when others have filled it."""
        self.to_come -= size
        if self._left() < self.free:
            raise NoRoom(NO_DISK)

    def release(self, caller: str, size: int, *, unwritten: int) -> None:
        self.held -= size
        self.to_come -= unwritten
        self.by_caller[caller] -= size
        if self.by_caller[caller] <= 0:
            del self.by_caller[caller]

    def _left(self) -> int:
        there = os.statvfs(self.folder)
        return there.f_bavail * there.f_frsize
