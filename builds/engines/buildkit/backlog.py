"""What the client wrote and the worker has not read yet, in memory and then on the disk.

BuildKit's client gives the progress of a build three seconds after its end, then throws away what
is left. So it must never wait for the worker, which parses, masks and stores all that it writes.
"""

import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from builds.process import Child

READ_BYTES = 1 << 18
MEMORY_BYTES = 4 << 20
MOST_BYTES = 1 << 30


class Backlog:
    """Filled by a thread, taken from by another. Leaving the `with` block frees it."""

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=str(folder))  # noqa: SIM115
        self._most = most
        self._written = self._taken = 0
        self._ended = False
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._most = -1
            self._file.close()
            self._changed.notify_all()

    def fill(self, pieces: Iterable[bytes]) -> None:
        """Put them in, to their end. Waits while as much as is allowed has not been taken."""
        try:
            for piece in pieces:
                with self._changed:
                    self._changed.wait_for(self._has_room)
                    if self._most < 0:
                        return
                    self._file.seek(self._written)
                    self._file.write(piece)
                    self._written += len(piece)
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def take(self, wait: float) -> bytes | None:
        """What comes next; empty where nothing came within `wait` seconds; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._written > self._taken, wait)
            if self._written == self._taken:
                return None if self._ended else b""
            self._file.seek(self._taken)
            piece: bytes = self._file.read(min(READ_BYTES, self._written - self._taken))
            self._taken += len(piece)
            if self._taken == self._written:
                self._file.seek(0)
                self._file.truncate()
                self._written = self._taken = 0
            self._changed.notify_all()
            return piece

    def _has_room(self) -> bool:
        return self._most < 0 or self._written < self._most


@contextmanager
def backlog_of(child: Child, folder: Path) -> Iterator[Backlog]:
    """What the child writes, read by a thread. Kills the child at the end.

    The thread has ended before the child's pipes are closed: their numbers may be given to other
    files at once.
    """
    backlog = Backlog(folder)
    reader = threading.Thread(target=backlog.fill, args=[_progress(child)], daemon=True)
    reader.start()
    try:
        with backlog:
            try:
                yield backlog
            finally:
                child.kill()
    finally:
        reader.join()


def _progress(child: Child) -> Iterator[bytes]:
    return (data for stream, data in child.read() if stream == "stderr" and data)
