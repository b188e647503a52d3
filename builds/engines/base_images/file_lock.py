"""File locks between processes. They are released when their process dies."""

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
        """Release the lock. `remove` also removes its file, for exclusive locks only."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def try_lock(path: Path, *, shared: bool = False) -> FileLock | None:
    """Take the lock without waiting. None if somebody else holds it. The folder must exist."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        # The previous holder may have removed the file: then this lock is on a deleted file.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(fd)):
                return FileLock(path, fd)
        os.close(fd)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, waiting for other holders. For short operations."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
