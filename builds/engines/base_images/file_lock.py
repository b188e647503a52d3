"""Locks in files: held by a process, gone with it, and safe to remove."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class FileLock:
    """A lock that is held until `release`."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    def release(self, *, remove: bool = False) -> None:
        """Give it up; `remove` takes an exclusive lock's file away with it."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def try_lock(path: Path, *, shared: bool = False) -> FileLock | None:
    """The lock, or None where somebody else has it. The folder must exist."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        # Whoever had it before may have removed the file: then this lock is on nothing.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(fd)):
                return FileLock(path, fd)
        os.close(fd)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold it for something short, waiting for others that do the same."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
