"""Ends a build that takes more disk than it may, by watching: no quota holds in every folder.

Asking for the free space costs nothing, but others use the disk too: only when it fell by more
than the build may use is the build's own share counted.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from builds.engines.base import BuildFailed
from builds.engines.sandbox.wall import NEST, Account
from builds.process import ProcessError, run

LOOK_SECONDS = 0.1
COUNT_SECONDS = 5.0
COUNT_DEADLINE = 20.0


class DiskWatch:
    """One build's use of the disk below `folders`, from the moment this is made."""

    def __init__(
        self, folders: Sequence[Path], account: Account, *, limit: int, reserve: int
    ) -> None:
        self._folders = folders
        self._account = account
        self._limit = limit
        self._reserve = reserve
        self._began = time.time()
        self._free = self._least_free()
        self._look_at = self._count_at = time.monotonic()

    def look(self) -> None:
        """Raise BuildFailed when the build uses too much. Cheap enough for every chunk."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        free = self._least_free()
        if free < self._reserve:
            raise BuildFailed("The build server's disk is nearly full.", code="disk")
        if self._free - free > self._limit and now >= self._count_at:
            if self._used() > self._limit:
                raise BuildFailed(
                    f"The build used more disk space than its limit of {self._limit >> 20} MiB.",
                    code="disk",
                )
            self._count_at = time.monotonic() + COUNT_SECONDS

    def _least_free(self) -> int:
        return min(shutil.disk_usage(folder).free for folder in self._folders)

    def _used(self) -> int:
        inside = () if self._account.change else NEST
        newer = f"@{self._began:.3f}"
        find = [
            "find",
            *map(str, self._folders),
            "-xdev",
            "-newerct",
            newer,
            "-printf",
            "%D:%i %b\\n",
        ]
        try:
            listing = run(
                [*inside, *find], deadline=COUNT_DEADLINE, check=False, output_limit=1 << 28
            )
        except ProcessError:
            return self._limit + 1  # more files than can be counted is too much, too
        blocks = dict(line.split() for line in listing.stdout.splitlines())
        return sum(map(int, blocks.values())) * 512
