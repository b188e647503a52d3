"""Buffer for the client's output that the worker has not read yet, in memory and then on disk.

BuildKit's client waits three seconds after the end of a build, then discards the progress that it
could not write. So it must never wait for the worker, which parses, masks and stores its output.
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
    """A byte queue between two threads, of at most `most` bytes.

    Leaving the `with` block frees it and stops the writer.
    """

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
        """Append all pieces. Waits while the queue is full."""
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
        """The next bytes. Empty if none arrive within `wait` seconds; None at the end."""
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
    """Read the child's stderr into a backlog, in a thread. Kills the child at the end.

    The thread ends before the child's pipes are closed, because their descriptor numbers may be
    reused at once.
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
