"""A finished log as one text: its size, and any byte range without decoding the rest."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from django.core.files.storage import default_storage

from builds.logs.archive_format import Frame
from builds.logs.reader import chunks_from, index_of, left_out
from builds.logs.reader_threads import in_reader
from builds.logs.store import decode
from builds.models import Build, LogChunk

READ_BYTES = 256 * 1024


class LogGone(Exception):
    """The image was deleted while its log was being read."""


@dataclass(frozen=True, slots=True)
class _Piece:
    size: int
    content: Callable[[], bytes]


class LogText:
    """The text of consecutive ended attempts, from a line of the first one. Offsets are in UTF-8
    bytes.

    Sizes stay valid, as the log of an ended attempt never changes.
    """

    def __init__(self, builds: Sequence[Build], line: int) -> None:
        self._pieces = [piece for build in builds for piece in _pieces(build)]
        self._skipped = _bytes_before(builds[0], line)
        self.size = sum(piece.size for piece in self._pieces) - self._skipped
        self.tag = f"{builds[0].pk.hex}.{builds[-1].pk.hex}.{line}"
        """Unique for each text, for use in an ETag."""
        self._key = builds[0].archive_key
        alone = len(builds) == 1 and not line and builds[0].archive_key
        self.stored_size = index_of(alone).size if alone else 0
        """Size in bytes of the same text as zstd; 0 if it is not stored like that. Not offered
        for several attempts: clients based on httpx fail where one zstd stream ends and the next
        begins."""

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to `stop` (exclusive) in pieces. Raises LogGone."""
        start, stop = start + self._skipped, stop + self._skipped
        at = 0
        for piece in self._pieces:
            if at < stop and at + piece.size > start:
                content = await in_reader(piece.content)
                yield content[max(0, start - at) : stop - at]
            at += piece.size

    async def read_stored(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """The same for the zstd file. Raises LogGone."""
        for at in range(start, stop, READ_BYTES):
            yield await in_reader(_stored, self._key, at, min(READ_BYTES, stop - at))


def _pieces(build: Build) -> Iterator[_Piece]:
    if build.archive_key:
        for frame in index_of(build.archive_key).frames:
            yield _Piece(frame.text_size, partial(_frame, build.archive_key, frame))
        return
    chunks = LogChunk.objects.filter(build=build).order_by("first_line")
    for pk, first, size in chunks.values_list("pk", "first_line", "raw_bytes"):
        if first == build.gap_stop and first:
            marker = f"{left_out(build, build.gap_start).text}\n".encode()
            yield _Piece(len(marker), partial(bytes, marker))
        yield _Piece(size, partial(_chunk, pk))


def _frame(key: str, frame: Frame) -> bytes:
    try:
        with default_storage.open(key) as file:
            return index_of(key).text(file, frame)
    except FileNotFoundError:
        raise LogGone from None


def _stored(key: str, offset: int, length: int) -> bytes:
    try:
        with default_storage.open(key) as file:
            file.seek(offset)
            content: bytes = file.read(length)
            return content
    except FileNotFoundError:
        raise LogGone from None


def _chunk(chunk_id: int) -> bytes:
    chunk = LogChunk.objects.filter(pk=chunk_id).first()
    if chunk is None:
        raise LogGone
    return "".join(f"{line.text}\n" for line in decode(bytes(chunk.data))).encode()


def _bytes_before(build: Build, line: int) -> int:
    """Size of the attempt's text before this line. Decodes only the frame or chunk that contains
    it."""
    line = build.gap_stop if build.gap_start < line < build.gap_stop else line
    if not line:
        return 0
    size = 0
    if build.archive_key:
        for frame in takewhile(lambda each: each.first < line, index_of(build.archive_key).frames):
            text = frame.text_size
            if frame.stop > line:
                lines = _frame(build.archive_key, frame).split(b"\n")[: line - frame.first]
                text = sum(len(each) + 1 for each in lines)
            size += text
        return size
    if line >= build.gap_stop > 0:
        size += len(f"{left_out(build, build.gap_start).text}\n".encode())
    for chunk in chunks_from(build, 0).filter(first_line__lt=line).defer("data"):
        if chunk.first_line + chunk.lines <= line:
            size += chunk.raw_bytes
        else:
            some = decode(bytes(chunk.data))[: line - chunk.first_line]
            size += sum(len(each.text.encode()) + 1 for each in some)
    return size
