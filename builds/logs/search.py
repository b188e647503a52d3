"""Searches a log, live or finished, and counts all matching lines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson
import zstandard
from django.core.files.storage import default_storage

from builds.logs.reader import chunks_from, index_of
from builds.models import Build

HITS_BYTES = 2 * 1024 * 1024
"""Approximate maximum size of the text in one result."""


@dataclass(slots=True)
class Found:
    """Matching lines: the total count, and some of them as (number, text)."""

    total: int = 0
    hits: list[tuple[int, str]] = field(default_factory=list)
    next: int | None = None
    """The first matching line left out of `hits`; None if there is none."""


@dataclass(frozen=True, slots=True)
class _Block:
    first: int
    content: bytes
    """The text as stored, in which a match is visible without parsing."""
    texts: Callable[[bytes], list[str]]


def search(build: Build, text: str, *, ignore_case: bool, start: int, count: int) -> Found:
    """Find lines that contain `text` literally: the total, and up to `count` hits from line
    `start` on."""
    found = Found()
    size = 0
    wanted = text.lower() if ignore_case else text
    inside = text.encode() if build.archive_key else orjson.dumps(text)[1:-1]
    for block in _archived(build) if build.archive_key else _stored(build):
        if inside not in block.content and not ignore_case:
            continue
        if ignore_case and inside.decode().lower() not in block.content.decode().lower():
            continue
        for number, line in enumerate(block.texts(block.content), block.first):
            if wanted not in (line.lower() if ignore_case else line):
                continue
            found.total += 1
            if number < start or found.next is not None:
                continue
            if len(found.hits) >= count or size > HITS_BYTES:
                found.next = number
                continue
            found.hits.append((number, line))
            size += len(line)
    return found


def _archived(build: Build) -> Iterator[_Block]:
    index = index_of(build.archive_key)
    with default_storage.open(build.archive_key) as file:
        for frame in index.frames:
            if frame.stop - frame.first == frame.lines:
                yield _Block(frame.first, index.text(file, frame), _texts_of_frame)


def _stored(build: Build) -> Iterator[_Block]:
    for chunk in chunks_from(build, 0).iterator(chunk_size=64):
        yield _Block(chunk.first_line, zstandard.decompress(bytes(chunk.data)), _texts_of_chunk)


def _texts_of_frame(content: bytes) -> list[str]:
    return content.decode().removesuffix("\n").split("\n")


def _texts_of_chunk(content: bytes) -> list[str]:
    return [row[3] for row in orjson.loads(content)]
