"""Lists the files of a layer, with limits on the size and time of reading its tar archive.

A build can produce any bytes as a layer, so reading stops at the limits of `Look`.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

import zstandard

from builds.context.decompression import read_gzip, read_plain, read_zstd
from builds.context.limits import ContextRefused, DamagedArchive
from builds.context.tar_reader import (
    BLOCK_BYTES,
    ByteStream,
    has_right_checksum,
    pax_records,
    plain_name,
    read_number,
)

EXTENSION_BYTES = 64 * 1024
_ZEROS = bytes(BLOCK_BYTES)
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_KINDS = {
    b"5": "folder",
    b"2": "link",
    b"1": "hard link",
    b"3": "device",
    b"4": "device",
    b"6": "pipe",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Limits for reading a layer."""

    files: int = 2_000
    """Maximum number of listed files."""
    compressed_bytes: int = 64 << 20
    bytes: int = 512 << 20
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class LayerFile:
    """An entry of a layer. `size` is in bytes, `mode` in octal."""

    path: str
    kind: str
    """file, folder, link, hard link, device, pipe or removed."""
    size: int
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFiles:
    """The files of a layer that were read."""

    files: list[LayerFile]
    whole: bool
    """Whether the end of the layer was reached."""
    readable: bool
    """False if the data after these files is not a tar archive."""


class _Ended(Exception):
    """A limit was reached."""


class _Compressed:
    """A file-like object over the compressed bytes from a registry, with limits."""

    def __init__(self, pieces: Iterator[bytes], look: Look) -> None:
        self._pieces = pieces
        self._left = look.compressed_bytes
        self._until = monotonic() + look.seconds

    def read(self, _size: int) -> bytes:
        """Return the next chunk. `_size` is ignored, as decompressors accept any size."""
        self.tick()
        piece = next(self._pieces, b"")
        self._left -= len(piece)
        if self._left < 0:
            raise _Ended
        return piece

    def tick(self) -> None:
        if monotonic() > self._until:
            raise _Ended


def layer_files(pieces: Iterator[bytes], look: Look | None = None) -> LayerFiles:
    """List the files of a layer from its compressed bytes (gzip, zstd or plain)."""
    look = look or Look()
    found: list[LayerFile] = []
    source = _Compressed(pieces, look)
    try:
        stream = ByteStream(_decompressed(source), most=look.bytes, refusal=ContextRefused("bound"))
        for file in _entries(stream):
            source.tick()
            if len(found) == look.files:
                return LayerFiles(files=found, whole=False, readable=True)
            found.append(file)
    except _Ended:
        return LayerFiles(files=found, whole=False, readable=True)
    except ContextRefused as problem:
        bound = str(problem) == "bound"
        return LayerFiles(files=found, whole=False, readable=bound)
    except (DamagedArchive, zlib.error, zstandard.ZstdError, ValueError):
        return LayerFiles(files=found, whole=False, readable=False)
    return LayerFiles(files=found, whole=True, readable=True)


def _decompressed(source: _Compressed) -> Iterator[bytes]:
    first = source.read(0)
    file = _Begun(first, source)
    if first.startswith(b"\x1f\x8b"):
        return read_gzip(file, source.tick)  # type: ignore[arg-type]
    if first.startswith(b"\x28\xb5\x2f\xfd"):
        return read_zstd(file, source.tick)  # type: ignore[arg-type]
    return read_plain(file, source.tick)  # type: ignore[arg-type]


class _Begun:
    """A source whose first chunk was already read."""

    def __init__(self, first: bytes, rest: _Compressed) -> None:
        self._first, self._rest = first, rest

    def read(self, size: int) -> bytes:
        first, self._first = self._first, b""
        return first or self._rest.read(size)


def _entries(stream: ByteStream) -> Iterator[LayerFile]:
    name: bytes | None = None
    size: int | None = None
    while (header := stream.exactly(BLOCK_BYTES)) != _ZEROS:
        if not has_right_checksum(header):
            raise DamagedArchive("a header has the wrong checksum")
        form = header[156:157]
        length = max(0, read_number(header[124:136]) if size is None else size)
        if form in (b"x", b"g", b"L", b"K"):
            if length > EXTENSION_BYTES:
                raise DamagedArchive("an extended header is too long")
            data = stream.exactly(length)
            stream.exactly(-length % BLOCK_BYTES)
            if form == b"L":
                name = data.partition(b"\0")[0]
            elif form == b"x":
                records = dict(pax_records(data))
                name = records.get(b"path", name)
                size = int(records[b"size"]) if b"size" in records else size
            continue
        yield _file(header, plain_name(header) if name is None else name, form, length)
        if form not in _KINDS:
            _skip(stream, length + -length % BLOCK_BYTES)
        name = size = None


def _skip(stream: ByteStream, size: int) -> None:
    for _ in stream.through(size):
        pass


def _file(header: bytes, raw: bytes, form: bytes, size: int) -> LayerFile:
    path = "/" + raw.decode(errors="replace").removeprefix("./").strip("/")
    kind = _KINDS.get(form, "file")
    folder, _, last = path.rpartition("/")
    if last == _OPAQUE:
        path, kind = f"{folder}/*", "removed"
    elif last.startswith(_WHITEOUT):
        path, kind = f"{folder}/{last.removeprefix(_WHITEOUT)}", "removed"
    mode = read_number(header[100:108]) & 0o7777
    return LayerFile(path, kind, size if kind == "file" else 0, f"{mode:04o}")
