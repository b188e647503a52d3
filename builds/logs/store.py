"""The log as the database has it: insert-only chunks of compressed lines behind a fence.

A chunk is zstd over a JSON array of `[microseconds since the epoch, "o" or "e", step, text]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import orjson
import zstandard
from django.db import transaction
from django.db.models import F, Subquery

from builds.logs.lines import LogLine
from builds.models import Build, LogChunk
from builds.status import FINAL, RUNNING, Status

CHUNK_LINES = 2_000
"""No chunk holds more, so that a page of them is of bounded size."""
PAGE_CHUNKS = 32


class FenceLost(Exception):
    """This worker no longer has the build: somebody else settled it. Nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Consecutive lines of one attempt from a given line on, and how the attempt stood before."""

    status: Status
    api_status: str
    first: int
    lines: list[LogLine]

    @property
    def ended(self) -> bool:
        """Nothing follows: the attempt was over before these lines were read, and none was left."""
        return self.status in FINAL and not self.lines


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
    """Lines of that attempt from `line` on, at most PAGE_CHUNKS chunks; None without the attempt.

    The status is read before the lines: a final one means that all lines were there.
    """
    build = Build.objects.light().filter(image_id=image_id, number=attempt).first()
    if build is None:
        return None
    rows: list[LogLine] = []
    if build.log_lines > line:
        chunks = LogChunk.objects.filter(build=build).order_by("first_line")
        before = chunks.filter(first_line__lte=line).order_by("-first_line")
        holding = before.values("first_line")[:1]
        for chunk in chunks.filter(first_line__gte=Subquery(holding))[:PAGE_CHUNKS]:
            rows += decode(bytes(chunk.data))[max(0, line - chunk.first_line) :]
    return Page(status=build.state, api_status=build.api_status, first=line, lines=rows)
