"""Opens an archive that may be damaged, huge or a lie, and words what is wrong with it."""

import os
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

CHUNK_BYTES = 64 * 1024
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_RECORD = b"PK\x01\x02"
_DIRECTORY_BYTES_A_MEMBER = 1024
_SHOWN_CHARACTERS = 120


class ContextRefused(Exception):
    """The archive is not one that Slipway unpacks. The text tells its sender what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLimits:
    """How much a context may become on disk."""

    members: int = 100_000
    total_bytes: int = 4 * 1024**3
    member_bytes: int = 4 * 1024**3
    ratio: int = 200
    """Inflated over archived bytes. Asked only past the floor: small zips of zeros are fine."""
    ratio_floor_bytes: int = 64 * 1024**2


def shown(name: str) -> str:
    """A hostile name, fit for one line of a message."""
    if len(name) > _SHOWN_CHARACTERS:
        name = name[:_SHOWN_CHARACTERS] + "…"
    return ascii(name) if CONTROL.search(name) else f"'{name}'"


@contextmanager
def archive_errors(what: str) -> Iterator[None]:
    """Whatever zipfile raises over damaged input, said once and for people."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        UnicodeDecodeError,
    ) as error:
        raise ContextRefused(
            f"{what} is damaged or cut short ({str(error) or type(error).__name__}): "
            "zip the build context again and send all of it"
        ) from error


class GuardedFile:
    """The archive as zipfile reads it, except that a list of files beyond the limits is not loaded.

    zipfile reads the whole central directory at once, as large as the archive says it is. It is the
    only read above CHUNK_BYTES; each of its records starts with the signature counted here.
    """

    def __init__(self, file: IO[bytes], limits: ContextLimits) -> None:
        self._file = file
        self._members = limits.members
        self._most = limits.members * _DIRECTORY_BYTES_A_MEMBER + 2 * CHUNK_BYTES

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._most + 1 if size < 0 else min(size, self._most + 1))
        if len(data) > self._most or (
            len(data) > CHUNK_BYTES and data.count(_RECORD) > self._members
        ):
            raise too_many(self._members)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_SET and not 0 <= offset <= sys.maxsize:
            raise zipfile.BadZipFile("it points outside itself")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def too_many(limit: int) -> ContextRefused:
    return ContextRefused(
        f"the build context has more than {limit:,} files and folders: "
        "leave out what the build does not need"
    )


def too_large(limits: ContextLimits) -> ContextRefused:
    return ContextRefused(
        f"the build context is larger than {limits.total_bytes:,} bytes when unpacked: "
        "leave out what the build does not need"
    )


def member_too_large(name: str, limits: ContextLimits) -> ContextRefused:
    return ContextRefused(
        f"{name} is larger than {limits.member_bytes:,} bytes: "
        "leave it out, or fetch it in a RUN step"
    )
