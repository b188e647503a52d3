"""Decompresses gzip and zstd in pieces of bounded size, and detects truncated streams.

Readers call `tick` for each chunk, and raise ContextRefused or DamagedArchive.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import IO

import zstandard

from builds.context.limits import CHUNK_BYTES, ContextRefused, DamagedArchive

MOST_FRAMES = 100_000
"""Limit for gzip members or zstd frames. `bgzip` writes one for each 64 KiB."""
ZSTD_WINDOW_BYTES = 128 * 1024**2
"""The decoder's memory limit: enough for `zstd --ultra -22` and `--long`."""

_ZSTD_FEED_BYTES = 256
# A block of 128 KiB needs at least 4 bytes, and the decoder returns the whole output of its input:
# so a piece has at most 8 MiB.
_GZIP = 31
"""zlib's window bits for a gzip stream with header, trailer and checksum."""

Tick = Callable[[], None]


def read_plain(file: IO[bytes], tick: Tick) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        tick()
        yield data


def read_gzip(file: IO[bytes], tick: Tick) -> Iterator[bytes]:
    """Decompress all members in order. Zero bytes after the last one are padding."""
    data = file.read(CHUNK_BYTES)
    frames = 0
    while data:
        frames = _count(frames)
        inflater = zlib.decompressobj(wbits=_GZIP)
        while not inflater.eof:
            tick()
            data = data or file.read(CHUNK_BYTES)
            piece = inflater.decompress(data, CHUNK_BYTES)
            if not data and not piece and not inflater.eof:
                raise DamagedArchive("the gzip stream has no end")
            data = inflater.unconsumed_tail
            if piece:
                yield piece
        data = (inflater.unused_data or file.read(CHUNK_BYTES)).lstrip(b"\0")
        while not data and (more := file.read(CHUNK_BYTES)):
            tick()
            data = more.lstrip(b"\0")


def read_zstd(file: IO[bytes], tick: Tick) -> Iterator[bytes]:
    """Decompress all frames in order. Skippable frames are allowed."""
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    frames = 0
    frame = None
    while data := file.read(CHUNK_BYTES):
        at = 0
        while at < len(data):
            tick()
            if frame is None:
                frames = _count(frames)
                frame = decoder.decompressobj()
            feed = data[at : at + _ZSTD_FEED_BYTES]
            at += len(feed)
            piece = _decompress(frame, feed)
            if frame.eof:
                at -= len(frame.unused_data)
                frame = None
            if piece:
                yield piece
    if frame is not None:
        raise DamagedArchive("the zstd stream has no end")


def _decompress(frame: "zstandard.ZstdDecompressionObj", feed: bytes) -> bytes:
    try:
        return frame.decompress(feed)
    except zstandard.ZstdError as error:
        if "too much memory" not in str(error):
            raise
        raise ContextRefused(
            "the build context is compressed with a window of more than 128 MiB: "
            "use zstd without --long=28 or more"
        ) from error


def _count(frames: int) -> int:
    if frames == MOST_FRAMES:
        raise ContextRefused(
            f"the build context is compressed in more than {MOST_FRAMES:,} pieces: "
            "compress it as one"
        )
    return frames + 1
