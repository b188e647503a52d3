"""Reads log lines from any position, from chunks or the archive, with the state of the attempt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import QuerySet, Subquery

from builds.logs.archive_format import Index
from builds.logs.lines import LogLine
from builds.logs.steps import WAITING
from builds.logs.store import KEY, decode
from builds.models import Build, LogChunk
from builds.status import FINAL, Status

PAGE_CHUNKS = 32
PAGE_BYTES = 128 * 1024
PAGE_LINES = 4_096
"""A limit on lines as well, since each has an overhead of some tens of bytes."""
LOOK_CHUNKS = 8
LOOK_AT_ONCE = 400
"""Chunks per SQL statement, as databases limit its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """State of an attempt and its log."""

    build_id: UUID
    status: Status
    api_status: str
    step: int
    steps: int
    step_times: list[list[Any]]
    """See `Build.step_times`."""
    chunks: int
    lines: int

    @property
    def final(self) -> bool:
        return self.status in FINAL

    def stands_as(self, other: "Head") -> bool:
        """Whether both look the same to users, apart from the number of lines."""
        return (self.api_status, self.step, self.steps, self.step_times) == (
            other.api_status,
            other.step,
            other.steps,
            other.step_times,
        )

    def steps_since(self, other: "Head | None") -> list[list[Any]]:
        """`[number, state, began, ended]` of steps that differ from `other`, or from all waiting
        if None."""
        before = (
            other.step_times if other and other.step_times else [WAITING] * len(self.step_times)
        )
        pairs = zip(self.step_times, before, strict=False)
        return [
            [number, *now]
            for number, (now, then) in enumerate(pairs, 1)
            if tuple(now) != tuple(then)
        ]

    @classmethod
    def of(cls, build: Build) -> "Head":
        return cls(
            build_id=build.pk,
            status=build.state,
            api_status=build.api_status,
            step=build.step,
            steps=build.steps,
            step_times=build.step_times,
            chunks=build.log_chunks,
            lines=build.log_lines,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Consecutive lines of one attempt, and the attempt's state before they were read."""

    head: Head
    first: int
    lines: list[LogLine]
    gap: int = 0
    """If lines were truncated, the number of lines that the single line stands for."""

    @property
    def ended(self) -> bool:
        """Nothing follows: the attempt had ended before the read, and no line is left."""
        return self.head.final and self.first >= self.head.lines

    @property
    def stop(self) -> int:
        """The number of the next line to read."""
        return self.first + (self.gap or len(self.lines))


def left_out(build: Build, line: int) -> LogLine:
    """The placeholder for the truncated lines from `line` to the end of the gap."""
    count = build.gap_stop - line
    text = f"… {count} lines left out: the log was too long …"
    return LogLine(stream="stderr", text=text, at=build.started_at or build.queued_at)


def chunks_from(build: Build, line: int) -> QuerySet[LogChunk]:
    """The chunk that contains this line, and all later chunks."""
    chunks = LogChunk.objects.filter(build=build)
    holding = chunks.filter(first_line__lte=line).order_by("-first_line").values("first_line")[:1]
    return chunks.filter(first_line__gte=Subquery(holding)).order_by("first_line")


def page(image_id: UUID, *, attempt: int, line: int, most: int | None = None) -> Page | None:
    """Lines of an attempt from `line` on, up to about PAGE_BYTES, PAGE_LINES or `most` lines. None
    if the attempt does not exist.

    The page is empty if there are no more lines yet, or if they are just being moved; then try
    again. The status is read before the lines, so with a final status all lines were there.
    """
    build = Build.objects.with_step_times().filter(image_id=image_id, number=attempt).first()
    if build is None:
        return None
    head = Head.of(build)
    if build.log_lines <= line:
        return Page(head=head, first=line, lines=[])
    if build.archive_key:
        try:
            return _archived(build, head, line, most)
        except FileNotFoundError:  # the image was deleted in the meantime
            return None
    if build.gap_start <= line < build.gap_stop:
        gap = build.gap_stop - line
        return Page(head=head, first=line, lines=[left_out(build, line)], gap=gap)
    rows: list[LogLine] = []
    size = 0
    chunks = chunks_from(build, line)
    if most is not None:
        chunks = chunks.filter(first_line__lt=line + most)
    for chunk in chunks[:PAGE_CHUNKS]:
        full = size >= PAGE_BYTES or len(rows) >= PAGE_LINES or len(rows) == most
        if chunk.first_line > line + len(rows) or full:
            break
        start = max(0, line - chunk.first_line)
        stop = None if most is None else start + most - len(rows)
        rows += decode(bytes(chunk.data), start, stop)
        size += chunk.raw_bytes
    return Page(head=head, first=line, lines=rows)


@lru_cache(maxsize=64)
def index_of(key: str) -> Index:
    """Cached, as archives never change."""
    with default_storage.open(key) as file:
        return Index.read(file)


def _archived(build: Build, head: Head, line: int, most: int | None) -> Page:
    index = index_of(build.archive_key)
    with default_storage.open(build.archive_key) as file:
        frame = next(index.holding(line))
        if frame.stop - frame.first > frame.lines:
            gap = frame.stop - line
            return Page(head=head, first=line, lines=[left_out(build, line)], gap=gap)
        start = line - frame.first
        lines = index.lines(file, frame, start, None if most is None else start + most)
    return Page(head=head, first=line, lines=lines)


class Asked(NamedTuple):
    """An attempt to read, and how many of its chunks are known. None reads only its head."""

    image_id: UUID
    attempt: int
    chunks: int | None


class Fresh(NamedTuple):
    """A new chunk. `size` is that of its text in bytes."""

    first: int
    size: int
    lines: list[LogLine]


class Seen(NamedTuple):
    """State of an attempt and its new chunks."""

    head: Head
    chunks: list[Fresh]


def look(asked: Sequence[Asked]) -> dict[tuple[UUID, int], Seen]:
    """Read new chunks of many attempts, at most LOOK_CHUNKS each. Missing attempts are left out
    of the result. Heads are read first, so with a final status all lines were there."""
    builds = Build.objects.with_step_times().filter(
        image_id__in={each.image_id for each in asked}, number__in={each.attempt for each in asked}
    )
    heads = {(build.image_id, build.number): Head.of(build) for build in builds}
    found: dict[tuple[UUID, int], Seen] = {}
    wanted: list[tuple[UUID, int]] = []
    for image_id, attempt, known in asked:
        head = heads.get((image_id, attempt))
        if head is None:
            continue
        found[image_id, attempt] = Seen(head, [])
        if known is not None and head.chunks > known:
            stop = min(head.chunks, known + LOOK_CHUNKS)
            wanted += [(head.build_id, seq) for seq in range(known, stop)]
    by_build = {seen.head.build_id: seen for seen in found.values()}
    for start in range(0, len(wanted), LOOK_AT_ONCE):
        for chunk in _chunks(wanted[start : start + LOOK_AT_ONCE]):
            fresh = Fresh(chunk.first_line, chunk.raw_bytes, decode(bytes(chunk.data)))
            by_build[chunk.build_id].chunks.append(fresh)
    return found


def _chunks(wanted: Sequence[tuple[UUID, int]]) -> Iterable[LogChunk]:
    """Chunks with these builds and numbers, in order. Raw SQL, because Django has no row values
    in IN and needs milliseconds to combine a hundred conditions."""
    pairs = ", ".join(["(%s, %s)"] * len(wanted))
    values = [
        each
        for build_id, seq in wanted
        for each in (KEY.get_db_prep_value(build_id, connection), seq)
    ]
    statement = f"""
        SELECT * FROM builds_logchunk WHERE (build_id, seq) IN (VALUES {pairs})
        ORDER BY build_id, seq
    """  # noqa: S608 - contains only placeholders
    return LogChunk.objects.raw(statement, values)
