"""Stores a request's body in memory or on disk, and enforces its limits while it arrives."""

from hashlib import file_digest
from tempfile import SpooledTemporaryFile

from webserver.upload_budget import MEMORY_BYTES, STEP_BYTES, Allowed, Uploads

KEY = "slipway.body"  # in an ASGI scope and in request.META


class BodyTooLarge(Exception):
    """The body is larger than its limit."""


class Spool:
    """A body: `size` bytes, readable through `file`.

    Up to 64 KiB it is in memory, above in an unlinked file, which disappears when the process ends.
    Disk space is claimed from `uploads` before it is written.
    """

    def __init__(self, uploads: Uploads, allowed: Allowed, length: int | None) -> None:
        """`length` is the Content-Length, or None without one. Raises NoRoom."""
        # The server closes it when the application has ended.
        spooled = SpooledTemporaryFile(MEMORY_BYTES, dir=str(uploads.folder))  # noqa: SIM115
        self.file: SpooledTemporaryFile[bytes] = spooled
        self.size = 0
        self._uploads, self._allowed = uploads, allowed
        self._claimed = self._noted = 0
        if length is not None and length > MEMORY_BYTES:
            self._claim(length)

    def sha256(self) -> str:
        """The digest in lower-case hex. Reads the whole body; only signed requests need it."""
        at = self.file.tell()
        self.file.seek(0)
        digest = file_digest(self.file, "sha256").hexdigest()
        self.file.seek(at)
        return digest

    def write(self, data: bytes) -> None:
        """Append data. Raises BodyTooLarge, NoRoom, or OSError if the disk is full."""
        size = self.size + len(data)
        if size > self._allowed.limit:
            raise BodyTooLarge
        if size > MEMORY_BYTES and size > self._claimed:
            self._claim(max(STEP_BYTES, size - self._claimed))
        self.file.write(data)
        self.size = size
        if size - self._noted >= STEP_BYTES:
            noted, self._noted = self._noted, size
            self._uploads.written(size - noted)

    def close(self) -> None:
        self.file.close()
        claimed, self._claimed = self._claimed, 0
        if claimed:
            unwritten = claimed - self._noted
            self._uploads.release(self._allowed.caller, claimed, unwritten=unwritten)

    def _claim(self, size: int) -> None:
        self._uploads.claim(self._allowed.caller, size)
        self._claimed += size
