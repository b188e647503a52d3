"""A request's body on disk, hashed and capped as it arrives."""

import hashlib
from pathlib import Path
from tempfile import SpooledTemporaryFile

KEY = "slipway.body"  # in an ASGI scope and in request.META
MEMORY_BYTES = 64 * 1024


class BodyTooLarge(Exception):
    """More bytes came than a body may have."""


class Spool:
    """A body: `size` bytes whose digest is `sha256` (lower-case hex), readable through `file`.

    It stays in memory up to 64 KiB and moves to an unlinked file in `folder` beyond, so nothing is
    left behind however the process ends.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        # Closed by the server when the application that reads it has ended.
        spooled = SpooledTemporaryFile(MEMORY_BYTES, dir=str(folder))  # noqa: SIM115
        self.file: SpooledTemporaryFile[bytes] = spooled
        self.size = 0
        self._limit = limit
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Raises BodyTooLarge, or OSError when the disk is full."""
        if self.size + len(data) > self._limit:
            raise BodyTooLarge
        self.file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def close(self) -> None:
        self.file.close()
