"""A request's body on disk, hashed and capped as it arrives, and how Django reads it there."""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http.response import HttpResponseBase

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


class SpoolHandler(ASGIHandler):
    """Django's handler, which takes the body from the scope where there is one.

    `request.META["slipway.body"]` is then its Spool. Under another server, or a test client,
    requests are Django's own and the key is missing.
    """

    def create_request(
        self, scope: Mapping[str, Any], body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        spool: Spool | None = scope.get(KEY)
        if spool is None:
            return super().create_request(scope, body_file)
        spool.file.seek(0)
        made = super().create_request(scope, spool.file)
        if made[0] is not None:
            made[0].META[KEY] = spool
            # A chunked body names no length, and Django takes that for an empty form.
            made[0].META["CONTENT_LENGTH"] = str(spool.size)
        return made

    async def send_response(
        self, response: HttpResponseBase, send: Callable[[Mapping[str, Any]], Awaitable[None]]
    ) -> None:
        """Ends a stream's generator with the answer: Django leaves that to the garbage collector
        when the reader goes while nothing is being made for it."""
        try:
            await super().send_response(response, send)
        finally:
            source = getattr(response, "_iterator", None)
            if isinstance(source, AsyncGenerator):
                await source.aclose()
