"""The file of a finished log: zstd frames of plain text, and an index that finds any line.

Decompressed by any zstd tool it is the log as text: what else is needed stands in skippable frames
behind it. In order: a frame of whole lines each FRAME_BYTES or FRAME_LINES; one skippable frame
with the times, kinds (as in `lines.kind`) and steps of each; one with the index, which ends in its
own length and MAGIC.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from io import SEEK_END
from itertools import islice
from struct import Struct
from typing import IO
from zlib import crc32

import orjson
import zstandard

from builds.logs.lines import LogLine, kind, moment, since_1970

FRAME_BYTES = 128 * 1024
FRAME_LINES = 4_096
"""In one frame, which is read whole for any of its lines, however short they are."""
MAGIC = b"SLIPWAY1"
SKIPPABLE = 0x184D2A50
HEADER = Struct("<II")
TAIL = Struct("<I8s")


class BadArchive(Exception):
    """What is stored is not what was written."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Some consecutive lines. Offsets and sizes in bytes, `text_*` before compression."""

    first: int
    lines: int
    stop: int
    """The number after its last line's; with `lines` 1 it may stand for many that went."""
    text_at: int
    text_size: int
    at: int
    size: int
    about_at: int
    about_size: int
    crc: int


class FrameWriter:
    """Writes one archive from front to end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._compressor = zstandard.ZstdCompressor(level=3, write_content_size=True)
        self._frames: list[Frame] = []
        self._abouts: list[bytes] = []
        self._about_size = 0
        self._waiting: list[LogLine] = []
        self._waiting_bytes = 0
        self._first = self._at = self._text_at = 0

    def add(self, line: LogLine, *, span: int = 1) -> None:
        """The next line; with `span`, in place of so many."""
        if span > 1:
            self._close()
        self._waiting.append(line)
        self._waiting_bytes += len(line.text) + 1
        full = self._waiting_bytes >= FRAME_BYTES or len(self._waiting) >= FRAME_LINES
        if span > 1 or full:
            self._close(span if span > 1 else 0)

    def finish(self) -> None:
        self._close()
        self._skippable(b"".join(self._abouts))
        index = zstandard.compress(orjson.dumps([astuple(each) for each in self._frames]))
        self._skippable(index + TAIL.pack(len(index), MAGIC))

    def _close(self, span: int = 0) -> None:
        lines = self._waiting
        if not lines:
            return
        text = "".join(f"{line.text}\n" for line in lines).encode()
        data = self._compressor.compress(text)
        times = [since_1970(line.at) for line in lines]
        kinds = "".join(map(kind, lines))
        about = orjson.dumps([times, kinds, [line.step for line in lines]])
        self._abouts.append(self._compressor.compress(about))
        frame = Frame(
            first=self._first,
            lines=len(lines),
            stop=self._first + (span or len(lines)),
            text_at=self._text_at,
            text_size=len(text),
            at=self._at,
            size=len(data),
            about_at=self._about_size,
            about_size=len(self._abouts[-1]),
            crc=crc32(text),
        )
        self._file.write(data)
        self._frames.append(frame)
        self._first, self._at = frame.stop, self._at + len(data)
        self._text_at += len(text)
        self._about_size += frame.about_size
        self._waiting, self._waiting_bytes = [], 0

    def _skippable(self, content: bytes) -> None:
        self._file.write(HEADER.pack(SKIPPABLE, len(content)) + content)


class Index:
    """What an archive holds, and where."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.text_size = frames[-1].text_at + frames[-1].text_size if frames else 0
        self.size = frames[-1].at + frames[-1].size if frames else 0
        """Of the frames of text together, compressed."""

    @classmethod
    def read(cls, file: IO[bytes]) -> "Index":
        """Raises BadArchive."""
        end = file.seek(0, SEEK_END)
        if end < TAIL.size:
            raise BadArchive("too short")
        file.seek(end - TAIL.size)
        size, magic = TAIL.unpack(file.read(TAIL.size))
        if magic != MAGIC or size > end - TAIL.size:
            raise BadArchive("no index")
        file.seek(end - TAIL.size - size)
        rows = orjson.loads(_decompressed(file.read(size)))
        return cls([Frame(*row) for row in rows])

    def holding(self, line: int) -> Iterator[Frame]:
        """The frame of that line, and all that follow."""
        return (frame for frame in self.frames if frame.stop > line)

    def text(self, file: IO[bytes], frame: Frame) -> bytes:
        """Raises BadArchive."""
        file.seek(frame.at)
        text = _decompressed(file.read(frame.size))
        if crc32(text) != frame.crc:
            raise BadArchive(f"the lines from {frame.first} on are damaged")
        return text

    def lines(
        self, file: IO[bytes], frame: Frame, start: int = 0, stop: int | None = None
    ) -> list[LogLine]:
        """Those of a frame, or some, numbered within it. Raises BadArchive."""
        texts = self.text(file, frame).decode().split("\n")
        file.seek(self.size + HEADER.size + frame.about_at)
        times, kinds, steps = orjson.loads(_decompressed(file.read(frame.about_size)))
        return [
            LogLine(
                stream="stderr" if kind == "e" else "stdout",
                text=text,
                at=moment(at),
                step=step,
                heading=kind == "h",
            )
            for text, at, kind, step in islice(
                zip(texts, times, kinds, steps, strict=False), start, stop
            )
        ]


def _decompressed(data: bytes) -> bytes:
    try:
        return zstandard.decompress(data)
    except zstandard.ZstdError as problem:
        raise BadArchive(str(problem)) from problem
