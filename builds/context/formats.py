"""Detects the format of an archive from its content, never from its name."""

from typing import IO, Literal

from builds.context.limits import ContextRefused
from builds.context.tar_reader import BLOCK_BYTES, is_tar_header

Format = Literal["zip", "tar", "tar.gz", "tar.zst"]

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OTHERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf'\x1c": "7z",
    b"Rar!": "RAR",
}
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22 + 65535


def detect(file: IO[bytes]) -> Format:
    """Detect the format from the start of the file, else from its end. Raises ContextRefused."""
    file.seek(0)
    head = file.read(BLOCK_BYTES)
    file.seek(0)
    if head.startswith(_ZIP):
        return "zip"
    if head.startswith(_GZIP):
        return "tar.gz"
    if head.startswith((_ZSTD, *_ZSTD_SKIPPABLE)):
        return "tar.zst"
    if is_tar_header(head):
        return "tar"
    for start, name in _OTHERS.items():
        if head.startswith(start):
            raise _refused(f"is compressed with {name}")
    # A zip may start with other data, such as a program that unpacks it.
    size = file.seek(0, 2)
    file.seek(max(0, size - _ZIP_END_BYTES))
    if _ZIP_END in file.read(_ZIP_END_BYTES):
        return "zip"
    raise _refused("is empty" if not size else "is no archive")


def _refused(complaint: str) -> ContextRefused:
    return ContextRefused(
        f"the build context {complaint}: send a .zip, .tar, .tar.gz or .tar.zst archive"
    )
