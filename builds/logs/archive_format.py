"""File format of archived logs: zstd frames of plain text, and an index to find any line.

Any zstd tool decompresses it to the text of the log, because all other data is in skippable frames
at the end. Order: frames of whole lines, each about FRAME_BYTES or FRAME_LINES long; one skippable
frame with times, kinds (see `lines.kind`) and steps of the lines; one skippable frame with the
index, which ends in its own length and MAGIC.
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
"""Maximum number of lines per frame. To read any line, its whole frame is read."""
MAGIC = b"SLIPWAY1"
SKIPPABLE = 0x184D2A50
HEADER = Struct("<II")
TAIL = Struct("<I8s")


class BadArchive(Exception):
    """The archive is damaged or not in this format."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of consecutive lines. Offsets and sizes are in bytes; `text_*` before compression."""

    first: int
    lines: int
    stop: int
    """Number of the last line plus 1. If `lines` is 1, that line may stand for many truncated
    lines."""
    text_at: int
    text_size: int
    at: int
    size: int
    about_at: int
    about_size: int
    crc: int


class FrameWriter:
    """Writes an archive sequentially."""

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
        """Add the next line. With `span` > 1 it stands for that many truncated lines."""
        if span > 1:
            self._close()
        self._waiting.append(line)
        self._waiting_bytes += len(line.text) + 1
        full = self._waiting_bytes >= FRAME_BYTES or len(self._waiting) >= FRAME_LINES
        if span > 1 or full:
            self._close(span if span > 1 else 0)

    def finish(self) -> None:
        """Write the last frame and the index."""
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
    """Index of an archive: its frames and their positions."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.text_size = frames[-1].text_at + frames[-1].text_size if frames else 0
        self.size = frames[-1].at + frames[-1].size if frames else 0
        """Compressed size in bytes of all text frames."""

    @classmethod
    def read(cls, file: IO[bytes]) -> "Index":
        """Read the index at the end of an archive. Raises BadArchive."""
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
        """The frame that contains this line, and all later frames."""
        return (frame for frame in self.frames if frame.stop > line)

    def text(self, file: IO[bytes], frame: Frame) -> bytes:
        """The decompressed text of a frame. Raises BadArchive."""
        file.seek(frame.at)
        text = _decompressed(file.read(frame.size))
        if crc32(text) != frame.crc:
            raise BadArchive(f"the lines from {frame.first} on are damaged")
        return text

    def lines(
        self, file: IO[bytes], frame: Frame, start: int = 0, stop: int | None = None
    ) -> list[LogLine]:
        """Lines of a frame, or the slice `start:stop` of them. Raises BadArchive."""
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
