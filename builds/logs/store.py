"""The log as the database has it: insert-only chunks of compressed lines behind a fence.

A chunk is zstd over a JSON array of `[microseconds since the epoch, kind, step, text]`, where the
kind is "o" for stdout, "e" for stderr and "h" for a heading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import local
from typing import Any

import orjson
import zstandard
from django.db import connection, transaction
from django.db.models import F, UUIDField

from builds.logs.group_commit import Together
from builds.logs.lines import LogLine, kind, moment, since_1970
from builds.logs.segments import SEGMENTS
from builds.logs.steps import STEP_CHARACTERS
from builds.metrics import LOG_BYTES, LOG_LINES
from builds.models import Build, BuildQuerySet, LogChunk
from builds.status import RUNNING
from common.outages import DATABASE_OUTAGES

CHUNK_LINES = 2_000
"""No chunk holds more, so the one that contains a line is found by a range of the index."""


class _Own(local):
    """Each thread's own compressor: two threads at one would spoil what both write."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(write_checksum=True)


OWN = _Own()


OFTEN = {"log_chunks", "log_lines", "log_bytes", "step", "steps"}
MOVE = """
    UPDATE builds_build
    SET log_chunks = %s, log_lines = %s, log_bytes = %s, step = %s, steps = %s
    WHERE id = %s AND fence = %s AND log_chunks = %s AND status IN (%s, %s, %s)
"""
INSERT = """
    INSERT INTO builds_logchunk (build_id, seq, fence, first_line, lines, raw_bytes, data)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
KEY = UUIDField()


class FenceLost(Exception):
    """This worker no longer has the build: somebody else settled it. Nothing was written."""


def encode(lines: Sequence[LogLine]) -> bytes:
    rows = [
        (microseconds(line), kind(line), line.step, line.text.replace("\n", " ")) for line in lines
    ]
    return OWN.compressor.compress(orjson.dumps(rows))


def microseconds(line: LogLine) -> int:
    """Since 1970."""
    return since_1970(line.at)


def decode(data: bytes, start: int = 0, stop: int | None = None) -> list[LogLine]:
    """The lines of a chunk, or some, numbered within it."""
    rows = orjson.loads(zstandard.decompress(data))
    return [
        LogLine(
            stream="stderr" if kind == "e" else "stdout",
            text=text,
            at=moment(at),
            step=step,
            heading=kind == "h",
        )
        for at, kind, step, text in rows[start:stop]
    ]


def size_of(lines: Sequence[LogLine]) -> int:
    """What they take in the log as text, in bytes, newlines too."""
    return len("\n".join([line.text for line in lines]).encode()) + 1 if lines else 0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some lines on their way into the database, behind what their build has there."""

    build: Build
    row: LogChunk
    values: dict[str, Any]
    """What the head of the build is to be."""


def append(
    build: Build,
    lines: Sequence[LogLine],
    *,
    step: int,
    steps: int,
    facts: Mapping[str, Any] | None = None,
    gap: tuple[int, int] = (0, 0),
) -> None:
    """Adds a chunk and moves the head of `build`, both or neither; raises FenceLost.

    `facts` are more fields of the build to set, where they changed.

    `build` is its worker's own copy, whose counters say what is already there. Safe to repeat
    after a failure that left it open whether the commit happened. Chunks that begin within a gap
    that grew are dropped in the same transaction.
    """
    row = _row(build, lines)
    values: dict[str, Any] = {
        "log_chunks": build.log_chunks + 1,
        "log_lines": build.log_lines + len(lines),
        "log_bytes": build.log_bytes + row.raw_bytes,
        "step": step,
        "steps": steps,
        **(facts or {}),
    }
    if begun := _steps_begun(build, lines):
        values["log_steps"] = build.log_steps + begun
    if gap != (build.gap_start, build.gap_stop):
        values |= {"gap_start": gap[0], "gap_stop": gap[1]}
    chunk = _Chunk(build, row, values)
    # SQLite has one writer at a time, and lets the others guess when: some would wait for seconds.
    # Elsewhere builds that are written together would only hold each other's rows.
    together = connection.vendor == "sqlite" and not connection.in_atomic_block
    written = TOGETHER.write(chunk) if together else _insert([chunk])[0]
    if not written:
        raise FenceLost
    LOG_LINES.inc(len(lines))
    LOG_BYTES.inc(row.raw_bytes)
    for name, value in values.items():
        setattr(build, name, value)


def _insert(chunks: Sequence[_Chunk]) -> list[bool]:
    """Those of different builds in one transaction; for each whether its fence held."""
    with transaction.atomic():
        found = [_move(chunk) for chunk in chunks]
        moved = [chunk for chunk, was in zip(chunks, found, strict=True) if was]
        with connection.cursor() as cursor:
            cursor.executemany(INSERT, [_values(chunk.row) for chunk in moved])
        for chunk in moved:
            if "gap_stop" in chunk.values:
                start, stop = chunk.values["gap_start"], chunk.values["gap_stop"]
                gone = LogChunk.objects.filter(build=chunk.build, first_line__gte=start)
                gone.filter(first_line__lt=stop).delete()
    return [was is not None for was in found]


def _move(chunk: _Chunk) -> bool | None:
    """Moves the head. False where that is done already, None where the fence is lost."""
    build, values = chunk.build, chunk.values
    if values.keys() == OFTEN:
        # In words of SQL: a hundred builds make this a thousand times a second, and to put it
        # together again would cost ten times the statement.
        ours = [KEY.get_db_prep_value(build.pk, connection), build.fence, build.log_chunks]
        with connection.cursor() as cursor:
            cursor.execute(MOVE, [*values.values(), *ours, *(each.value for each in RUNNING)])
            moved = cursor.rowcount
    else:
        moved = _head(build, build.log_chunks).update(**values)
    if moved:
        return True
    return False if _head(build, build.log_chunks + 1).exists() else None


def _values(row: LogChunk) -> list[Any]:
    build_id = KEY.get_db_prep_value(row.build_id, connection)
    return [build_id, row.seq, row.fence, row.first_line, row.lines, row.raw_bytes, row.data]


def _head(build: Build, chunks: int) -> BuildQuerySet:
    """Its row, as long as the claim on it stands and it has so many chunks."""
    return Build.objects.held_by(build).filter(status__in=RUNNING, log_chunks=chunks)


TOGETHER = Together(_insert, shared=DATABASE_OUTAGES)


def store_steps(build: Build, *, step: int, steps: int, facts: Mapping[str, Any]) -> None:
    """Sets what is known of the steps where no line comes with it; raises FenceLost."""
    if not _head(build, build.log_chunks).update(step=step, steps=steps, **facts):
        raise FenceLost


def _steps_begun(build: Build, lines: Sequence[LogLine]) -> list[list[Any]]:
    """Where the headings among these lines are, as Build.log_steps has it."""
    begun = [
        [line.step, at, line.text[:STEP_CHARACTERS], microseconds(line)]
        for at, line in enumerate(lines, build.log_lines)
        if line.heading
    ]
    return begun[: max(0, SEGMENTS - len(build.log_steps))]


def _row(build: Build, lines: Sequence[LogLine]) -> LogChunk:
    return LogChunk(
        build_id=build.pk,
        seq=build.log_chunks,
        fence=build.fence,
        first_line=build.log_lines,
        lines=len(lines),
        raw_bytes=size_of(lines),
        data=encode(lines),
    )


def seal(build: Build, line: LogLine) -> dict[str, object]:
    """Inserts the last line; returns what the settling UPDATE must set beside the status.

    Called with the row of `build` locked and freshly read.
    """
    row = _row(build, [line])
    row.save(force_insert=True)
    return {
        "log_chunks": F("log_chunks") + 1,
        "log_lines": F("log_lines") + 1,
        "log_bytes": F("log_bytes") + row.raw_bytes,
    }
