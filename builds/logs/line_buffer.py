"""Buffer of log lines that wait for the database: in memory first, then on disk."""

import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from builds.logs.lines import LogLine
from builds.logs.store import decode, encode, size_of

MEMORY_BYTES = 1024 * 1024
DISK_BYTES = 64 * 1024 * 1024
Batch = Sequence[LogLine]


@dataclass(frozen=True, slots=True)
class _Spilled:
    at: int
    size: int


class Spool:
    """A FIFO queue of batches. The disk part is a temporary file that disappears with the
    process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: deque[tuple[Batch, int] | _Spilled] = deque()
        """In-memory batches with their sizes in bytes, and spilled ones."""
        self._memory_bytes = 0
        self._file: IO[bytes] | None = None
        self._spilled = self._end = 0

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether writers should wait. `put` still accepts batches."""
        return self._memory_bytes >= MEMORY_BYTES and self._end >= DISK_BYTES

    def put(self, batch: Batch) -> None:
        """Append a batch: to disk when memory is full, to memory when the disk is full too."""
        if self._memory_bytes >= MEMORY_BYTES and self._end < DISK_BYTES:
            try:
                self._queue.append(self._spill(encode(batch)))
            except OSError:  # no disk space: treat the disk part as full
                self._end = DISK_BYTES
            else:
                return
        self._queue.append(self._in_memory(batch))

    def first(self) -> Batch:
        """The oldest batch. The buffer must not be empty."""
        found = self._queue[0]
        if isinstance(found, _Spilled):
            found = self._queue[0] = self._in_memory(self._fetch(found))
        return found[0]

    def drop(self) -> None:
        """Remove the oldest batch, which `first` returned, after it was stored."""
        dropped = self._queue.popleft()
        assert not isinstance(dropped, _Spilled)  # noqa: S101 - `first` fetched it
        self._memory_bytes -= dropped[1]

    def _in_memory(self, batch: Batch) -> tuple[Batch, int]:
        size = size_of(batch)
        self._memory_bytes += size
        return batch, size

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self._spilled = self._end = 0

    def _spill(self, data: bytes) -> _Spilled:
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - see close
        self._file.seek(self._end)
        self._file.write(data)
        self._file.flush()
        spilled = _Spilled(self._end, len(data))
        self._end += len(data)
        self._spilled += 1
        return spilled

    def _fetch(self, spilled: _Spilled) -> Batch:
        assert self._file is not None  # noqa: S101 - it was written to
        self._file.seek(spilled.at)
        batch = decode(self._file.read(spilled.size))
        self._spilled -= 1
        if not self._spilled:
            self.close()
        return batch
