"""The log as the database has it: insert-only chunks of compressed lines behind a fence.

A chunk is zstd over a JSON array of `[microseconds since the epoch, "o" or "e", step, text]`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import zstandard
from django.db import transaction
from django.db.models import F

from builds.logs.lines import LogLine
from builds.metrics import LOG_BYTES, LOG_LINES
from builds.models import Build, LogChunk
from builds.status import RUNNING

CHUNK_LINES = 2_000
"""No chunk holds more, so the one that contains a line is found by a range of the index."""


STEPS_KEPT = 1_000
STEP_CHARACTERS = 300
COMPRESSOR = zstandard.ZstdCompressor(write_checksum=True)


class FenceLost(Exception):
    """This worker no longer has the build: somebody else settled it. Nothing was written."""


def encode(lines: Sequence[LogLine]) -> bytes:
    rows = [
        (microseconds(line), line.stream[3], line.step, line.text.replace("\n", " "))
        for line in lines
    ]
    return COMPRESSOR.compress(orjson.dumps(rows))


def microseconds(line: LogLine) -> int:
    """Since 1970."""
    return round(line.at.timestamp() * 1_000_000)


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


def size_of(lines: Sequence[LogLine]) -> int:
    """What they take in the log as text, in bytes, newlines too."""
    return sum(
        (len(line.text) if line.text.isascii() else len(line.text.encode())) + 1 for line in lines
    )


def append(
    build: Build,
    lines: Sequence[LogLine],
    *,
    step: int,
    steps: int,
    gap: tuple[int, int] = (0, 0),
) -> None:
    """Adds a chunk and moves the head of `build`, both or neither; raises FenceLost.

    `build` is its worker's own copy, whose counters say what is already there. Safe to repeat
    after a failure that left it open whether the commit happened. Chunks that begin within a gap
    that grew are dropped in the same transaction.
    """
    raw = size_of(lines)
    begun = _steps_begun(build, lines)
    head = Build.objects.held_by(build).filter(status__in=RUNNING)
    values: dict[str, Any] = {"log_steps": build.log_steps + begun} if begun else {}
    if gap != (build.gap_start, build.gap_stop):
        values |= {"gap_start": gap[0], "gap_stop": gap[1]}
    with transaction.atomic():
        moved = head.filter(log_chunks=build.log_chunks).update(
            log_chunks=build.log_chunks + 1,
            log_lines=build.log_lines + len(lines),
            log_bytes=build.log_bytes + raw,
            step=step,
            steps=steps,
            **values,
        )
        if moved:
            insert_chunk(build, lines, raw)
            if "gap_stop" in values:
                gone = LogChunk.objects.filter(build=build, first_line__gte=gap[0])
                gone.filter(first_line__lt=gap[1]).delete()
        elif not head.filter(log_chunks=build.log_chunks + 1).exists():
            raise FenceLost
    LOG_LINES.inc(len(lines))
    LOG_BYTES.inc(raw)
    build.log_chunks += 1
    build.log_lines += len(lines)
    build.log_bytes += raw
    build.log_steps = build.log_steps + begun
    build.gap_start, build.gap_stop = gap


def _steps_begun(build: Build, lines: Sequence[LogLine]) -> list[list[Any]]:
    """Where among these lines steps begin, as Build.log_steps has it."""
    last = build.log_steps[-1][0] if build.log_steps else None
    if lines[-1].step == last:  # steps only grow
        return []
    begun: list[list[Any]] = []
    for at, line in enumerate(lines, build.log_lines):
        if line.step is not None and line.step != last:
            begun.append([line.step, at, line.text[:STEP_CHARACTERS], microseconds(line)])
            last = line.step
    return begun[: max(0, STEPS_KEPT - len(build.log_steps))]


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
    raw = size_of([line])
    insert_chunk(build, [line], raw)
    return {
        "log_chunks": F("log_chunks") + 1,
        "log_lines": F("log_lines") + 1,
        "log_bytes": F("log_bytes") + raw,
    }
