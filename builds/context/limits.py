"""Limits of a build context, and the errors for contexts that exceed them."""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import zstandard

CHUNK_BYTES = 64 * 1024
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
HEADER_BYTES_A_MEMBER = 1024
"""Average size limit of a member's record in a zip's central directory."""

_SHOWN_CHARACTERS = 120


class ContextRefused(Exception):
    """Slipway does not unpack this archive. `text` tells the sender what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class DamagedArchive(Exception):
    """The archive is damaged. `archive_errors` turns this into a ContextRefused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLimits:
    """Size limits of an unpacked context."""

    members: int = 100_000
    """Files, links and folders, including folders without a member of their own."""
    total_bytes: int = 4 * 1024**3
    member_bytes: int = 4 * 1024**3
    ratio: int = 200
    """Unpacked bytes per archived byte. Checked only above `ratio_floor_bytes`."""
    ratio_floor_bytes: int = 64 * 1024**2

    def most_bytes(self, archived_bytes: int) -> int:
        """The most bytes of content that an archive of this size may unpack to."""
        return max(self.ratio_floor_bytes, archived_bytes * self.ratio)


def shown(name: str) -> str:
    """Quote an untrusted name for a message: shortened, on one line, without control characters."""
    if len(name) > _SHOWN_CHARACTERS:
        name = name[:_SHOWN_CHARACTERS] + "…"
    return ascii(name) if CONTROL.search(name) or "\ufffd" in name else f"'{name}'"


@contextmanager
def archive_errors(what: str) -> Iterator[None]:
    """Turn the exceptions for damaged input into a ContextRefused about `what`."""
    try:
        yield
    except (
        DamagedArchive,
        zipfile.BadZipFile,
        zlib.error,
        zstandard.ZstdError,
        struct.error,
        EOFError,
        NotImplementedError,
        UnicodeDecodeError,
    ) as error:
        raise ContextRefused(
            f"{what} is damaged or cut short ({str(error) or type(error).__name__}): "
            "pack the build context again and send all of it"
        ) from error


def too_many(limits: ContextLimits) -> ContextRefused:
    return ContextRefused(
        f"the build context has more than {limits.members:,} files and folders: "
        "leave out what the build does not need"
    )


def too_large(limits: ContextLimits) -> ContextRefused:
    return ContextRefused(
        f"the build context is larger than {limits.total_bytes:,} bytes when unpacked: "
        "leave out what the build does not need"
    )


def expands_too_much(name: str, limits: ContextLimits) -> ContextRefused:
    return ContextRefused(
        f"{name} makes the build context unpack to more than {limits.ratio} times its size: "
        "leave out such files, or make them in a RUN step"
    )


def member_too_large(name: str, limits: ContextLimits) -> ContextRefused:
    return ContextRefused(
        f"{name} is larger than {limits.member_bytes:,} bytes: "
        "leave it out, or fetch it in a RUN step"
    )
