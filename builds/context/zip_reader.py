"""Reads zip archives: checks the complete list of members before reading any content.

All names and numbers in an archive are untrusted input.
"""

import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO

from builds.context.limits import (
    CHUNK_BYTES,
    HEADER_BYTES_A_MEMBER,
    ContextLimits,
    ContextRefused,
    archive_errors,
    member_too_large,
    shown,
    too_large,
    too_many,
)
from builds.context.members import (
    PATH_BYTES,
    Entry,
    Kind,
    Member,
    Tree,
    clamp_time,
    is_device,
    read_name,
    read_target,
)

_RECORD = b"PK\x01\x02"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_UNICODE_HEAD = struct.Struct("<BL")
"""Version and checksum of the name."""
_TIMES = struct.Struct("<Bl")
"""Flags for the times that follow, and the first time."""
_EXTRA = struct.Struct("<HH")
_UNICODE_PATH = 0x7075
_EXTENDED_TIMESTAMP = 0x5455
_ENCRYPTED = 0x1 | 0x40
_UTF8_NAME = 0x800
# Deflate is what every zip tool writes. zipfile cannot inflate bzip2 and LZMA in bounded pieces.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_UNIX_SYSTEMS = {3, 19}
"""Unix and macOS: their zips have Unix modes."""
_UNSAID_MODES = {0, stat.S_IFREG, stat.S_IFDIR, 0o600}
"""Modes that count as missing: those without permissions, and the default of Python's zipfile for
content without a file. Modes of real files also have a file type."""
_NO_MODE = 0o755
"""Used for missing modes. Docker uses it for contexts from Windows, which has no modes."""


class GuardedFile:
    """File object for zipfile that refuses a central directory beyond the limits.

    zipfile reads the whole central directory at once, with the size that the archive declares. This
    is its only read above CHUNK_BYTES. Each record starts with the signature that is counted here.
    """

    def __init__(self, file: IO[bytes], limits: ContextLimits) -> None:
        self._file = file
        self._limits = limits
        self._most = limits.members * HEADER_BYTES_A_MEMBER + 2 * CHUNK_BYTES

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._most + 1 if size < 0 else min(size, self._most + 1))
        if len(data) > self._most or (
            len(data) > CHUNK_BYTES and data.count(_RECORD) > self._limits.members
        ):
            raise too_many(self._limits)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_SET and not 0 <= offset <= sys.maxsize:
            raise zipfile.BadZipFile("it points outside itself")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def read_zip(
    file: IO[bytes], *, limits: ContextLimits, tick: Callable[[], None]
) -> Iterator[Entry]:
    """Yield every member with its content, links first. Raises ContextRefused."""
    guarded = GuardedFile(file, limits)
    with archive_errors("the build context"):
        archive = zipfile.ZipFile(guarded)
    with archive:
        members = read_members(archive, guarded, limits=limits, tick=tick)
        for info, member in members:
            if member.kind == "link":
                tick()
                content = b"".join(_content(archive, info, member, limits))
                yield _link(member, content), iter(())
        for info, member in members:
            if member.kind != "link":
                yield member, _content(archive, info, member, limits)


def read_members(
    archive: zipfile.ZipFile, file: GuardedFile, *, limits: ContextLimits, tick: Callable[[], None]
) -> list[tuple[zipfile.ZipInfo, Member]]:
    """All members in archive order. Raises ContextRefused for the first invalid one."""
    infos = archive.infolist()
    if len(infos) > limits.members:
        raise too_many(limits)
    members: list[tuple[zipfile.ZipInfo, Member]] = []
    tree = Tree(limits)
    total = 0
    for info in infos:
        tick()
        _check_storage(info, limits)
        total += info.file_size
        if total > limits.total_bytes:
            raise too_large(limits)
        member = _member(info)
        if not member.parts and member.kind == "folder":
            continue  # `./`, the context itself
        if not member.parts:
            raise ContextRefused(f"{member.shown} is not a file's name: pack it again")
        tree.add(member)
        members.append((info, member))
    _check_overlaps(file, infos, archive.start_dir, tick)
    return members


def _member(info: zipfile.ZipInfo) -> Member:
    extra = _extra_fields(info)
    name = _name(info, extra)
    parts = read_name(name, windows=True)
    unix_mode = info.external_attr >> 16 if info.create_system in _UNIX_SYSTEMS else 0
    return Member(
        name=name,
        parts=parts,
        kind=_kind(info, name, unix_mode),
        mode=_NO_MODE if unix_mode in _UNSAID_MODES else stat.S_IMODE(unix_mode),
        mtime_ns=clamp_time(_modified(info, extra) * 10**9),
        size=info.file_size,
    )


def _link(member: Member, content: bytes) -> Member:
    return Member(
        name=member.name,
        parts=member.parts,
        kind="link",
        mode=member.mode,
        mtime_ns=member.mtime_ns,
        target=read_target(member.name, content),
    )


def _extra_fields(info: zipfile.ZipInfo) -> dict[int, bytes]:
    """A member's extra fields in the central directory, the first of each kind."""
    fields: dict[int, bytes] = {}
    data, at = info.extra, 0
    while at + _EXTRA.size <= len(data):
        kind, size = _EXTRA.unpack_from(data, at)
        at += _EXTRA.size
        fields.setdefault(kind, data[at : at + size])
        at += size
    return fields


def _name(info: zipfile.ZipInfo, extra: dict[int, bytes]) -> str:
    name = info.orig_filename
    flagged = bool(info.flag_bits & _UTF8_NAME)
    raw = name.encode() if flagged else name.encode("cp437")
    field = extra.get(_UNICODE_PATH, b"")
    # A tool may rename a member and keep this field, so it is only used if its checksum matches.
    head = _UNICODE_HEAD.pack(1, zlib.crc32(raw))
    if field.startswith(head):
        return field[len(head) :].decode(errors="replace")
    if flagged:
        return name
    try:
        # Many tools write UTF-8 without setting its flag. zipfile then assumes cp437.
        return raw.decode()
    except UnicodeDecodeError:
        return name


def _kind(info: zipfile.ZipInfo, name: str, unix_mode: int) -> Kind:
    form = stat.S_IFMT(unix_mode)
    if form == stat.S_IFLNK:
        if info.file_size > PATH_BYTES:
            raise ContextRefused(
                f"the link {shown(name)} has a target of more than {PATH_BYTES} bytes: "
                "put the file itself there"
            )
        return "link"
    if form not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise is_device(name)
    if form != stat.S_IFDIR and not (name.endswith("/") or info.orig_filename.endswith("/")):
        return "file"
    if info.file_size:
        raise ContextRefused(
            f"{shown(name)} is a folder with content of its own: pack the build context again"
        )
    return "folder"


def _modified(info: zipfile.ZipInfo, extra: dict[int, bytes]) -> int:
    """The modification time in seconds since 1970.

    DOS times have no time zone, so they are read as UTC, which is stable. An invalid one is 1980.
    """
    field = extra.get(_EXTENDED_TIMESTAMP, b"")
    if len(field) >= _TIMES.size:
        which, seconds = _TIMES.unpack_from(field)
        if which & 1:
            return int(seconds)
    try:
        return int(datetime(*info.date_time, tzinfo=UTC).timestamp())
    except ValueError:
        return int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())


def _check_storage(info: zipfile.ZipInfo, limits: ContextLimits) -> None:
    name = shown(info.orig_filename)
    if info.flag_bits & _ENCRYPTED:
        raise ContextRefused(f"{name} is encrypted: zip the build context without a password")
    if info.compress_type not in _METHODS:
        raise ContextRefused(
            f"{name} is compressed in a way other than deflate: zip it with the usual settings"
        )
    if info.file_size > limits.member_bytes:
        raise member_too_large(name, limits)


def _check_overlaps(
    file: GuardedFile,
    infos: list[zipfile.ZipInfo],
    directory_offset: int,
    tick: Callable[[], None],
) -> None:
    """Refuse members that share bytes: with them, a small archive can unpack to petabytes."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in ordered[1:]), directory_offset]
    for info, end in zip(ordered, ends, strict=False):  # one end too many when it is empty
        tick()
        with archive_errors(shown(info.orig_filename)):
            file.seek(info.header_offset)
            _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if start + info.compress_size > end:
            raise ContextRefused(
                f"{shown(info.orig_filename)} overlaps another part of the archive: "
                "pack the build context again"
            )


def _content(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, member: Member, limits: ContextLimits
) -> Iterator[bytes]:
    """The member's bytes. Checks their real number, because the declared size is untrusted."""
    size = 0
    with archive_errors(member.shown), archive.open(info) as source:
        while piece := source.read(CHUNK_BYTES):
            size += len(piece)
            if size > limits.member_bytes:
                raise member_too_large(member.shown, limits)
            yield piece
        if size != info.file_size:
            raise zipfile.BadZipFile("its size is not the one declared")
