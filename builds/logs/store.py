"""Stores log lines in the database: insert-only, compressed chunks protected by a fencing token.

A chunk is a zstd-compressed JSON array of `[microseconds since 1970, kind, step, text]`. The kind
is "o" for stdout, "e" for stderr and "h" for a heading.
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
"""Maximum lines per chunk, so that the chunk of a line is found by an index range."""


class _Own(local):
    """One compressor per thread, as compressors are not thread-safe."""

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
    """This worker has lost its claim: the build was settled elsewhere. Nothing was written."""


def encode(lines: Sequence[LogLine]) -> bytes:
    """Compress lines to the data of a chunk."""
    rows = [
        (microseconds(line), kind(line), line.step, line.text.replace("\n", " ")) for line in lines
    ]
    return OWN.compressor.compress(orjson.dumps(rows))


def microseconds(line: LogLine) -> int:
    """Microseconds since 1970."""
    return since_1970(line.at)


def decode(data: bytes, start: int = 0, stop: int | None = None) -> list[LogLine]:
    """The lines of a chunk, or the slice `start:stop` of them."""
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
    """Size of the lines as text in bytes, with newlines."""
    return len("\n".join([line.text for line in lines]).encode()) + 1 if lines else 0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk to insert, and the values to set on its build."""

    build: Build
    row: LogChunk
    values: dict[str, Any]
    """New values of the build's fields."""


def append(
    build: Build,
    lines: Sequence[LogLine],
    *,
    step: int,
    steps: int,
    facts: Mapping[str, Any] | None = None,
    gap: tuple[int, int] = (0, 0),
) -> None:
    """Insert a chunk and update the build's counters in one transaction. Raises FenceLost.

    `facts` are further fields of the build to set.

    `build` is the worker's own copy; its counters say what is already stored. Safe to repeat if it
    is unknown whether the commit happened. Chunks inside a gap that grew are deleted in the same
    transaction.
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
    # SQLite has a single writer and no fair lock, so some threads would wait for seconds: group
    # their commits. On other databases grouping would only make builds wait for each other's rows.
    together = connection.vendor == "sqlite" and not connection.in_atomic_block
    written = TOGETHER.write(chunk) if together else _insert([chunk])[0]
    if not written:
        raise FenceLost
    LOG_LINES.inc(len(lines))
    LOG_BYTES.inc(row.raw_bytes)
    for name, value in values.items():
        setattr(build, name, value)


def _insert(chunks: Sequence[_Chunk]) -> list[bool]:
    """Insert chunks of different builds in one transaction. Returns for each whether its fence
    held."""
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
    """Update the build's counters. False if that was done before, None if the fence is lost."""
    build, values = chunk.build, chunk.values
    if values.keys() == OFTEN:
        # Raw SQL: with a hundred builds this runs a thousand times a second, and compiling the
        # query costs ten times as much as the statement.
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
    """The build's row, if the claim still holds and it has this many chunks."""
    return Build.objects.held_by(build).filter(status__in=RUNNING, log_chunks=chunks)


TOGETHER = Together(_insert, shared=DATABASE_OUTAGES)


def store_steps(build: Build, *, step: int, steps: int, facts: Mapping[str, Any]) -> None:
    """Store the state of the steps when there is no line to store. Raises FenceLost."""
    if not _head(build, build.log_chunks).update(step=step, steps=steps, **facts):
        raise FenceLost


def _steps_begun(build: Build, lines: Sequence[LogLine]) -> list[list[Any]]:
    """Positions of the headings among these lines, in the format of `Build.log_steps`."""
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
    """Insert the last line. Returns the field values that the settling UPDATE must set.

    Call it with the row of `build` locked and freshly read.
    """
    row = _row(build, [line])
    row.save(force_insert=True)
    return {
        "log_chunks": F("log_chunks") + 1,
        "log_lines": F("log_lines") + 1,
        "log_bytes": F("log_bytes") + row.raw_bytes,
    }
