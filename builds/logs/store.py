"""The log as the database has it: insert-only chunks of compressed lines behind a fence.

A chunk is zstd over a JSON array of `[microseconds since the epoch, "o" or "e", step, text]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import NamedTuple
from uuid import UUID

import orjson
import zstandard
from django.db import transaction
from django.db.models import F, Q

from builds.logs.lines import LogLine
from builds.models import Build, LogChunk
from builds.status import FINAL, RUNNING, Status

CHUNK_LINES = 2_000
"""No chunk holds more, so the one that contains a line is found by a range of the index."""
PAGE_CHUNKS = 32
PAGE_BYTES = 128 * 1024
LOOK_CHUNKS = 8
LOOK_BUILDS = 100
"""In one statement, which databases do not take at any length."""


class FenceLost(Exception):
    """This worker no longer has the build: somebody else settled it. Nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How an attempt and its log stand."""

    build_id: UUID
    status: Status
    api_status: str
    step: int
    steps: int
    chunks: int
    lines: int

    @property
    def final(self) -> bool:
        return self.status in FINAL

    def stands_as(self, other: "Head") -> bool:
        """Whether people would see no difference, the number of lines aside."""
        return (self.api_status, self.step, self.steps) == (
            other.api_status,
            other.step,
            other.steps,
        )

    @classmethod
    def of(cls, build: Build) -> "Head":
        return cls(
            build_id=build.pk,
            status=build.state,
            api_status=build.api_status,
            step=build.step,
            steps=build.steps,
            chunks=build.log_chunks,
            lines=build.log_lines,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Consecutive lines of one attempt from a given line on, and how the attempt stood before."""

    head: Head
    first: int
    lines: list[LogLine]

    @property
    def ended(self) -> bool:
        """Nothing follows: the attempt was over before these lines were read, and none was left."""
        return self.head.final and not self.lines


def encode(lines: Sequence[LogLine]) -> bytes:
    rows = [
        (round(line.at.timestamp() * 1_000_000), line.stream[3], line.step, line.text)
        for line in lines
    ]
    return zstandard.compress(orjson.dumps(rows))


def decode(data: bytes) -> list[LogLine]:
    rows = orjson.loads(zstandard.decompress(data))
    return [
        LogLine(
            stream="stdout" if stream == "o" else "stderr",
            text=text,
            at=datetime.fromtimestamp(at / 1_000_000, UTC),
            step=step,
        )
        for at, stream, step, text in rows
    ]


def _bytes(line: LogLine) -> int:
    """What it takes in the log as text, its newline too."""
    return len(line.text.encode()) + 1


def append(build: Build, lines: Sequence[LogLine], *, step: int, steps: int) -> None:
    """Adds a chunk and moves the head of `build`, both or neither; raises FenceLost.

    `build` is its worker's own copy, whose counters say what is already there. Safe to repeat
    after a failure that left it open whether the commit happened.
    """
    raw = sum(_bytes(line) for line in lines)
    head = Build.objects.held_by(build).filter(status__in=RUNNING)
    with transaction.atomic():
        moved = head.filter(log_chunks=build.log_chunks).update(
            log_chunks=build.log_chunks + 1,
            log_lines=build.log_lines + len(lines),
            log_bytes=build.log_bytes + raw,
            step=step,
            steps=steps,
        )
        if moved:
            insert_chunk(build, lines, raw)
        elif not head.filter(log_chunks=build.log_chunks + 1).exists():
            raise FenceLost
    build.log_chunks += 1
    build.log_lines += len(lines)
    build.log_bytes += raw


def insert_chunk(build: Build, lines: Sequence[LogLine], raw: int) -> None:
    """The row alone. The caller moves the head of `build` in the same transaction."""
    LogChunk.objects.create(
        build_id=build.pk,
        seq=build.log_chunks,
        fence=build.fence,
        first_line=build.log_lines,
        lines=len(lines),
        raw_bytes=raw,
        data=encode(lines),
    )


def seal(build: Build, line: LogLine) -> dict[str, object]:
    """Inserts the last line; returns what the settling UPDATE must set beside the status.

    Called with the row of `build` locked and freshly read.
    """
    raw = _bytes(line)
    insert_chunk(build, [line], raw)
    return {
        "log_chunks": F("log_chunks") + 1,
        "log_lines": F("log_lines") + 1,
        "log_bytes": F("log_bytes") + raw,
    }


def page(image_id: UUID, *, attempt: int, line: int) -> Page | None:
    """Lines of that attempt from `line` on, about PAGE_BYTES of them; None without the attempt.

    The status is read before the lines: a final one means that all lines were there.
    """
    build = Build.objects.light().filter(image_id=image_id, number=attempt).first()
    if build is None:
        return None
    rows: list[LogLine] = []
    if build.log_lines > line:
        size = 0
        chunks = LogChunk.objects.filter(build=build, first_line__gt=line - CHUNK_LINES)
        for chunk in chunks.order_by("first_line")[:PAGE_CHUNKS]:
            if chunk.first_line + chunk.lines > line and size < PAGE_BYTES:
                rows += decode(bytes(chunk.data))[max(0, line - chunk.first_line) :]
                size += chunk.raw_bytes
    return Page(head=Head.of(build), first=line, lines=rows)


class Asked(NamedTuple):
    """An attempt to look at, and how many of its chunks are known; None asks for its head alone."""

    image_id: UUID
    attempt: int
    chunks: int | None


class Seen(NamedTuple):
    """How an attempt stood, and chunks that were not known: (bytes as text, lines) of each."""

    head: Head
    chunks: list[tuple[int, list[LogLine]]]


def look(asked: Sequence[Asked]) -> dict[tuple[UUID, int], Seen]:
    """What is new of many attempts, at most LOOK_CHUNKS of each, in two queries. Heads come first:
    a final status means that all lines were there. What is missing here is not there."""
    builds = Build.objects.light().filter(
        image_id__in={each.image_id for each in asked}, number__in={each.attempt for each in asked}
    )
    heads = {(build.image_id, build.number): Head.of(build) for build in builds}
    found: dict[tuple[UUID, int], Seen] = {}
    wanted: list[Q] = []
    for image_id, attempt, known in asked:
        head = heads.get((image_id, attempt))
        if head is None:
            continue
        found[image_id, attempt] = Seen(head, [])
        if known is not None and head.chunks > known:
            span = Q(seq__gte=known, seq__lt=known + LOOK_CHUNKS)
            wanted.append(Q(build_id=head.build_id) & span)
    by_build = {seen.head.build_id: seen for seen in found.values()}
    for start in range(0, len(wanted), LOOK_BUILDS):
        some = reduce(or_, wanted[start : start + LOOK_BUILDS])
        for chunk in LogChunk.objects.filter(some).order_by("build_id", "seq"):
            lines = decode(bytes(chunk.data))
            by_build[chunk.build_id].chunks.append((chunk.raw_bytes, lines))
    return found
