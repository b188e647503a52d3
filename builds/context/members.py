"""What a zip says it holds, checked as a whole before the first byte of it is written.

Every name and number in an archive is a claim by a stranger. This module believes none that
could do harm; the bytes themselves are counted in `builds.context.unpacking`.
"""

import re
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from builds.context.archive import (
    CONTROL,
    ContextLimits,
    ContextRefused,
    GuardedFile,
    archive_errors,
    member_too_large,
    shown,
    too_large,
    too_many,
)

COMPONENT_BYTES = 255
"""What Linux file systems take for one name."""
PATH_BYTES = 1024
"""Well under PATH_MAX, so that every tool can still name the file below the work folder."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_DRIVE = re.compile(r"[A-Za-z]:")
_ENCRYPTED = 0x1 | 0x40
_UTF8_NAME = 0x800
# Deflate is what every zip tool writes. zipfile cannot inflate bzip2 and LZMA in bounded pieces.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}

Kind = Literal["file", "folder", "link"]
Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One entry that may be written: its place below the context, and what it is."""

    info: zipfile.ZipInfo
    parts: Parts
    kind: Kind

    @property
    def shown(self) -> str:
        return shown(self.info.orig_filename)

    @property
    def executable(self) -> bool:
        return bool(self.info.external_attr >> 16 & 0o111)


def read_members(
    archive: zipfile.ZipFile, file: GuardedFile, *, limits: ContextLimits, tick: Callable[[], None]
) -> list[Member]:
    """Every member, in archive order, or ContextRefused naming the first one that is wrong."""
    infos = archive.infolist()
    if len(infos) > limits.members:
        raise too_many(limits.members)
    members: list[Member] = []
    kinds: dict[Parts, Kind] = {}
    total = 0
    for info in infos:
        tick()
        parts = _parts(info)
        kind = _kind(info)
        _check_storage(info, limits)
        total += info.file_size
        if total > limits.total_bytes:
            raise too_large(limits)
        if not parts and kind == "folder":
            continue  # `./`, the context itself
        if not parts:
            raise ContextRefused(f"{shown(info.orig_filename)} is not a file's name: zip it again")
        member = Member(info, parts, kind)
        if parts in kinds:
            raise ContextRefused(
                f"{member.shown} is in the archive twice: zip the build context again"
            )
        kinds[parts] = kind
        members.append(member)
    _check_folders(members, kinds)
    _check_overlaps(file, infos, archive.start_dir, tick)
    return members


def _parts(info: zipfile.ZipInfo) -> Parts:
    name = info.orig_filename
    if not info.flag_bits & _UTF8_NAME:
        name = _as_utf8(name)
    complaint = None
    if CONTROL.search(name):
        complaint = "has control characters in its name"
    elif "\\" in name or _DRIVE.match(name):
        complaint = "is a Windows path"
    elif name.startswith("/"):
        complaint = "is an absolute path"
    elif not name:
        complaint = "has no name"
    elif len(name.encode()) > PATH_BYTES:
        complaint = f"has a path of more than {PATH_BYTES} bytes"
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        complaint = complaint or "leads out of the build context"
    elif any(len(part.encode()) > COMPONENT_BYTES for part in parts):
        complaint = complaint or f"has a name of more than {COMPONENT_BYTES} bytes"
    if complaint:
        raise ContextRefused(
            f"{shown(name)} {complaint}: zip the folder with plain, relative names"
        )
    return parts


def _as_utf8(name: str) -> str:
    """Many tools write UTF-8 without the flag that says so; zipfile then assumes cp437."""
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name


def _kind(info: zipfile.ZipInfo) -> Kind:
    form = stat.S_IFMT(info.external_attr >> 16)
    if form == stat.S_IFLNK:
        if info.file_size > PATH_BYTES:
            raise ContextRefused(
                f"the link {shown(info.orig_filename)} has a target of more than {PATH_BYTES} "
                "bytes: put the file itself there"
            )
        return "link"
    if form not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ContextRefused(
            f"{shown(info.orig_filename)} is a device, pipe or socket: "
            "a build context holds files, folders and links only"
        )
    if form != stat.S_IFDIR and not info.orig_filename.endswith("/"):
        return "file"
    if info.file_size:
        raise ContextRefused(
            f"{shown(info.orig_filename)} is a folder with content of its own: "
            "zip the build context again"
        )
    return "folder"


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


def _check_folders(members: list[Member], kinds: dict[Parts, Kind]) -> None:
    for member in members:
        for length in range(1, len(member.parts)):
            parent = member.parts[:length]
            if kinds.get(parent, "folder") != "folder":
                raise ContextRefused(
                    f"{member.shown} lies below {shown('/'.join(parent))}, which is not a folder: "
                    "zip the build context again"
                )


def _check_overlaps(
    file: GuardedFile,
    infos: list[zipfile.ZipInfo],
    directory_offset: int,
    tick: Callable[[], None],
) -> None:
    """Members that share bytes are how a small archive unpacks to petabytes."""
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
                "zip the build context again"
            )
