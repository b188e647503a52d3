"""A finished log as one text: how long it is, and any bytes of it without decoding the rest."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from builds.logs.reading import in_reader
from builds.logs.store import decode
from builds.models import Build, LogChunk


class LogGone(Exception):
    """The image was deleted while its log was being read."""


@dataclass(frozen=True, slots=True)
class _Piece:
    chunk_id: int
    start: int
    stop: int


class LogText:
    """The lines of some ended attempts from a line of the first on. Offsets are in bytes of UTF-8.

    What was measured stays so: an ended attempt's log never changes.
    """

    def __init__(self, builds: Sequence[Build], line: int) -> None:
        self._pieces: list[_Piece] = []
        end = 0
        for build in builds:
            chunks = LogChunk.objects.filter(build=build).order_by("first_line")
            for pk, size in chunks.values_list("pk", "raw_bytes"):
                self._pieces.append(_Piece(pk, end, end + size))
                end += size
        self._skipped = _bytes_before(builds[0], line)
        self.size = end - self._skipped
        self.tag = f"{builds[0].pk.hex}.{builds[-1].pk.hex}.{line}"
        """Of any two texts that differ, these differ."""

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Those bytes of it, some at a time. Raises LogGone."""
        start, stop = start + self._skipped, stop + self._skipped
        for piece in self._pieces:
            if piece.start < stop and piece.stop > start:
                content = await in_reader(_content, piece.chunk_id)
                yield content[max(0, start - piece.start) : stop - piece.start]


def _content(chunk_id: int) -> bytes:
    chunk = LogChunk.objects.filter(pk=chunk_id).first()
    if chunk is None:
        raise LogGone
    return "".join(f"{line.text}\n" for line in decode(bytes(chunk.data))).encode()


def _bytes_before(build: Build, line: int) -> int:
    """Of an attempt's lines up to this one; only the chunk that holds it is decoded."""
    if not line:
        return 0
    chunks = LogChunk.objects.filter(build=build, first_line__lt=line).order_by("first_line")
    size = 0
    for chunk in chunks.defer("data"):
        if chunk.first_line + chunk.lines <= line:
            size += chunk.raw_bytes
        else:
            lines = decode(bytes(chunk.data))[: line - chunk.first_line]
            size += sum(len(each.text.encode()) + 1 for each in lines)
    return size
