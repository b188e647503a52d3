"""Reads tar archives as a stream: v7, ustar, GNU and pax headers, each checked before its content.

The standard library's tarfile reads extended headers of any size and recurses over chains of them
(docs/decisions/0019). Here an extended header has at most MOST_EXTENSION_BYTES.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from builds.context.limits import (
    CHUNK_BYTES,
    ContextLimits,
    ContextRefused,
    DamagedArchive,
    archive_errors,
    expands_too_much,
    member_too_large,
    shown,
    too_large,
    too_many,
)
from builds.context.members import (
    Entry,
    Kind,
    Member,
    Parts,
    Tree,
    clamp_time,
    is_device,
    read_name,
    read_target,
)

BLOCK_BYTES = 512
MOST_EXTENSION_BYTES = 1024**2
"""Size limit of one extended header: names, and extended attributes, which are skipped."""
EXTENSION_BYTES_A_MEMBER = 256
"""Average size limit of extended headers: a record of 5 bytes costs as much work as a long one."""
MOST_EXTENSIONS = 8
"""Limit of extended headers before one member. Tools write at most four."""

_ZEROS = bytes(BLOCK_BYTES)
_CHECKSUM = slice(148, 156)
_OCTAL = re.compile(rb"[0-7]+")
_SECONDS = re.compile(rb"-?[0-9]{1,12}(\.[0-9]{1,30})?")
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_FILES = b"0\0007"
_LINK, _HARD_LINK, _FOLDER = b"2", b"1", b"5"
_DEVICES = b"346"
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_TARGET = b"xX", b"g", b"L", b"K"
_SPARSE = b"S"


class ByteStream:
    """Returns decompressed bytes in the requested sizes. Raises `refusal` after `most` bytes."""

    def __init__(self, pieces: Iterator[bytes], *, most: int, refusal: ContextRefused) -> None:
        self._pieces = pieces
        self._left = most
        self._refusal = refusal
        self._piece = memoryview(b"")

    def some(self, size: int) -> bytes:
        """Read between 1 and `size` bytes. Empty at the end."""
        while not self._piece:
            piece = next(self._pieces, b"")
            if not piece:
                return b""
            self._left -= len(piece)
            if self._left < 0:
                raise self._refusal
            self._piece = memoryview(piece)
        found = bytes(self._piece[:size])
        self._piece = self._piece[size:]
        return found

    def exactly(self, size: int) -> bytes:
        """Read `size` bytes. Raises DamagedArchive if fewer are left."""
        return b"".join(self.through(size))

    def through(self, size: int) -> Iterator[bytes]:
        """Read `size` bytes piece by piece. Raises DamagedArchive if fewer are left."""
        while size:
            piece = self.some(min(size, CHUNK_BYTES))
            if not piece:
                raise DamagedArchive("it ends in the middle of a member")
            size -= len(piece)
            yield piece


@dataclass(slots=True)
class _Extensions:
    """The values of the extended headers before a member. None: not given."""

    headers: int = 0
    described: bool = False
    name: bytes | None = None
    target: bytes | None = None
    size: int | None = None
    mtime_ns: int | None = None
    sparse: bool = False


def is_tar_header(block: bytes) -> bool:
    """Whether a block of 512 bytes starts a tar archive: a header, or the end of an empty one."""
    if len(block) < BLOCK_BYTES:
        return False
    if block == _ZEROS:
        return True
    try:
        return has_right_checksum(block)
    except DamagedArchive:
        return False


def read_tar(
    pieces: Iterator[bytes],
    *,
    archived_bytes: int,
    limits: ContextLimits,
    tick: Callable[[], None],
) -> Iterator[Entry]:
    """Yield every member with its content, in archive order. Raises ContextRefused.

    The members before the refused one have been yielded already.
    """
    most = limits.most_bytes(archived_bytes)
    if most < limits.total_bytes:
        refusal = expands_too_much("something in it", limits)
    else:
        most, refusal = limits.total_bytes, too_large(limits)
    # In addition to the content: headers, extended headers and padding.
    most += limits.members * (EXTENSION_BYTES_A_MEMBER + 8 * BLOCK_BYTES) + MOST_EXTENSION_BYTES
    stream = ByteStream(pieces, most=most, refusal=refusal)
    with archive_errors("the build context"):
        yield from _Reader(stream, limits, tick).entries()


class _Reader:
    def __init__(self, stream: ByteStream, limits: ContextLimits, tick: Callable[[], None]) -> None:
        self._stream = stream
        self._limits = limits
        self._tick = tick
        self._tree = Tree(limits)
        self._targets: dict[Parts, str] = {}
        self._headers = 0
        self._extension_bytes = 0
        self._content_bytes = 0

    def entries(self) -> Iterator[Entry]:
        extensions = _Extensions()
        while header := self._header():
            self._tick()
            kind = header[156:157]
            size = read_number(header[124:136])
            if kind in _PAX or kind in {_PAX_GLOBAL, _GNU_NAME, _GNU_TARGET}:
                self._extend(extensions, kind, size)
                continue
            self._headers += 1
            if self._headers > self._limits.members + 1:  # one for `./`
                raise too_many(self._limits)
            member = self._member(header, extensions, size)
            extensions = _Extensions()
            if not member.parts:
                continue
            self._tree.add(member)
            yield member, self._content(member)
            self._pad(member.size)
        if extensions.described:
            raise DamagedArchive("it ends after an extended header")

    def _header(self) -> bytes | None:
        """The next header. None at the end, after which only zero bytes are allowed."""
        block = self._stream.exactly(BLOCK_BYTES)
        if block == _ZEROS:
            while piece := self._stream.some(CHUNK_BYTES):
                self._tick()
                if piece.count(0) != len(piece):
                    raise ContextRefused(
                        "the build context goes on after the end of its tar archive: "
                        "pack everything into one archive"
                    )
            return None
        if not has_right_checksum(block):
            raise DamagedArchive("a header has the wrong checksum")
        return block

    def _content(self, member: Member) -> Iterator[bytes]:
        with archive_errors(member.shown):
            yield from self._stream.through(member.size)

    def _pad(self, size: int) -> None:
        self._stream.exactly(-size % BLOCK_BYTES)

    def _extend(self, extensions: _Extensions, kind: bytes, size: int) -> None:
        extensions.headers += 1
        self._extension_bytes += size
        if (
            not 0 <= size <= MOST_EXTENSION_BYTES
            or extensions.headers > MOST_EXTENSIONS
            or self._extension_bytes
            > MOST_EXTENSION_BYTES + self._limits.members * EXTENSION_BYTES_A_MEMBER
        ):
            raise ContextRefused(
                "the build context has extended tar headers that are too long or too many: "
                "pack it without extended attributes"
            )
        data = self._stream.exactly(size)
        self._pad(size)
        if kind == _PAX_GLOBAL:
            return  # does not describe a single member: `git archive` stores the commit in it
        extensions.described = True
        if kind in _PAX:
            self._pax(extensions, data)
        elif kind == _GNU_NAME:
            extensions.name = data.partition(b"\0")[0]
        elif kind == _GNU_TARGET:
            extensions.target = data.partition(b"\0")[0]

    def _pax(self, extensions: _Extensions, data: bytes) -> None:
        for key, value in pax_records(data):
            if key == b"path":
                extensions.name = value
            elif key == b"linkpath":
                extensions.target = value
            elif key == b"size":
                if not _DECIMAL.fullmatch(value):
                    raise DamagedArchive("a size is not a number")
                extensions.size = int(value)
            elif key == b"mtime":
                if _SECONDS.fullmatch(value):
                    extensions.mtime_ns = int(Decimal(value.decode()) * 10**9)
            elif key.startswith(b"GNU.sparse."):
                extensions.sparse = True

    def _member(self, header: bytes, extensions: _Extensions, size: int) -> Member:
        raw = plain_name(header) if extensions.name is None else extensions.name
        name = raw.decode(errors="replace")
        form = header[156:157]
        if form in _DEVICES:
            raise is_device(name)
        if form == _SPARSE or extensions.sparse:
            raise ContextRefused(
                f"{shown(name)} is stored as a sparse file: pack it with tar without --sparse"
            )
        parts = read_name(name, windows=False)
        kind = _kind(form, name)
        if not parts and kind != "folder":
            raise ContextRefused(f"{shown(name)} is not a file's name: pack it again")
        target = ""
        source: Parts = ()
        if kind in {"link", "hard link"}:
            raw = _text(header[157:257]) if extensions.target is None else extensions.target
            if kind == "link":
                target = read_target(name, raw)
            else:
                kind, target, source = self._hard_link(name, raw)
        if kind == "link":
            self._targets[parts] = target
        if kind == "file":
            size = size if extensions.size is None else extensions.size
            self._check_size(name, size)
        mtime_ns = extensions.mtime_ns
        return Member(
            name=name,
            parts=parts,
            kind=kind,
            mode=read_number(header[100:108]) & 0o7777,
            mtime_ns=clamp_time(
                read_number(header[136:148]) * 10**9 if mtime_ns is None else mtime_ns
            ),
            # Other kinds have no content, even if they declare a size.
            size=size if kind == "file" else 0,
            target=target,
            source=source,
        )

    def _hard_link(self, name: str, raw: bytes) -> tuple[Kind, str, Parts]:
        """Resolve a hard link to an earlier file or symbolic link: (kind, target, source)."""
        source = read_name(raw.decode(errors="replace"), windows=False)
        found = self._tree.kind(source)
        if found == "link":
            return "link", self._targets[source], ()
        if found not in {"file", "hard link"}:
            raise ContextRefused(
                f"{shown(name)} is a hard link to {shown('/'.join(source))}, which is no file "
                "before it in the archive: pack the build context again"
            )
        return "hard link", "", source

    def _check_size(self, name: str, size: int) -> None:
        if size < 0:
            raise DamagedArchive("a size is below zero")
        if size > self._limits.member_bytes:
            raise member_too_large(shown(name), self._limits)
        self._content_bytes += size
        if self._content_bytes > self._limits.total_bytes:
            raise too_large(self._limits)


def _kind(form: bytes, name: str) -> Kind:
    if form == _LINK:
        return "link"
    if form == _HARD_LINK:
        return "hard link"
    if form == _FOLDER:
        return "folder"
    if form not in _FILES:
        raise ContextRefused(
            f"{shown(name)} is of the tar type {form!r}: "
            "a build context holds files, folders and links only"
        )
    # Before ustar, folders were only marked by a trailing slash.
    return "folder" if name.endswith("/") else "file"


def _mtime_ns(header: bytes) -> int:
    return read_number(header[136:148]) * 10**9


def plain_name(header: bytes) -> bytes:
    name = _text(header[:100])
    if header[257:263] != b"ustar\0":
        return name
    # The tool star stores two timestamps in the last 24 bytes of the prefix.
    prefix = _text(header[345:476] if header[508:512] == b"tar\0" else header[345:500])
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def read_number(field: bytes) -> int:
    """Parse octal digits, or GNU's base 256 if the first bit is set. Raises DamagedArchive."""
    if field[0] & 0x80:
        if field.startswith(b"\xff"):
            return int.from_bytes(field, "big", signed=True)
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = _text(field).strip(b" ")
    if not digits:
        return 0
    if not _OCTAL.fullmatch(digits):
        raise DamagedArchive("a header holds something else than a number")
    return int(digits, 8)


def has_right_checksum(block: bytes) -> bool:
    """Whether the checksum matches: the sum of all bytes, with spaces in the checksum's field.

    Old tools summed signed bytes, so that is accepted too. Raises DamagedArchive.
    """
    told = read_number(block[_CHECKSUM])
    blank = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    total = sum(blank)
    return told == total or told == total - 256 * sum(byte >> 7 for byte in blank)


def pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Parse records `<length> <key>=<value>\\n` into keys and values. Raises DamagedArchive."""
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + 10)
        digits = data[at:blank] if blank > at else b""
        if not _DECIMAL.fullmatch(digits):
            raise DamagedArchive("an extended header is not well-formed")
        end = at + int(digits)
        if not blank < end <= len(data) or not data.endswith(b"\n", at, end):
            raise DamagedArchive("an extended header is not well-formed")
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not equals:
            raise DamagedArchive("an extended header is not well-formed")
        yield key, value
        at = end
