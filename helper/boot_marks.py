"""Marks caches that may not be completely written to disk.

Programs in a sandbox do not wait for the disk (fsync does nothing), so a crash of the machine can
damage a cache unnoticed. A file next to the cache stores the id of the boot in which it was last
used. It is removed once the cache is written to disk. If it has the id of another boot, the cache
is created again.
"""

import os
from contextlib import suppress
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SUFFIX = ".boot"


class BootMark:
    """The mark of one cache in a folder."""

    def __init__(self, folder_fd: int, cache_name: str) -> None:
        self._folder_fd = folder_fd
        self._name = cache_name + SUFFIX

    def set(self) -> None:
        """Store the id of the current boot."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._name, flags, 0o600, dir_fd=self._folder_fd), "w") as file:
            file.write(BOOT_ID.read_text())

    def clear(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder_fd)

    def is_of_another_boot(self) -> bool:
        """Whether the mark exists and has the id of another boot."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._name, flags, dir_fd=self._folder_fd)
        except FileNotFoundError:
            return False
        with os.fdopen(fd) as file:
            return file.read(64) != BOOT_ID.read_text()
