"""The log as plain text or as JSON lines, finished or live."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from builds.logs.cursor import Cursor, Lines
from builds.logs.follow import Done, Silence, follow
from builds.logs.reader import page
from builds.logs.reader_threads import in_reader
from builds.logs.selection import ALL, LineFilter, snapshot, tail_start
from builds.metrics import VIEWERS
from builds.status import Status, state_word
from images.live.sse import timestamp

JSON_LINES = "application/x-ndjson"
LINE_SCHEMA = {
    "type": "string",
    "description": (
        "A JSON object on each line; `type` tells what it is. `line`: a line of the log, with "
        "`attempt`, `line`, `stream` (`stdout` or `stderr`), `text`, `ts`, `step` (or null) and "
        "`heading` (whether Slipway wrote it to say that a step begins or goes on). `done`: the "
        "last one where the build has ended, with `attempt`, `state` (`succeeded`, `failed` or "
        "`cancelled`) and `status`. `keepalive`: nothing came for a while."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The options of a request for a log."""

    cursor: Cursor
    lines: LineFilter = ALL
    tail: int | None = None
    follow: bool = False


async def text_lines(
    image_id: UUID, wanted: Wanted, *, timestamps: bool = False
) -> AsyncGenerator[bytes, None]:
    """Plain text, one line each, with its time in front if requested."""

    def text_of(lines: Lines) -> bytes:
        found = wanted.lines.numbered(lines)
        if timestamps:
            return "".join(f"{timestamp(line.at)} {line.text}\n" for _, line in found).encode()
        return "".join(f"{line.text}\n" for _, line in found).encode()

    with VIEWERS.labels("text").track_inprogress():
        async with aclosing(_told(image_id, wanted)) as source:
            async for told in source:
                if isinstance(told, Lines) and (piece := text_of(told)):
                    yield piece


async def json_lines(image_id: UUID, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    """One JSON object for each line, as in LINE_SCHEMA. `done` is the last one when the build
    has ended."""

    def rows_of(lines: Lines) -> bytes:
        return b"".join(
            _row(
                type="line",
                attempt=lines.start.attempt,
                line=number,
                stream=line.stream,
                text=line.text,
                ts=timestamp(line.at),
                step=line.step,
                heading=line.heading,
            )
            for number, line in wanted.lines.numbered(lines)
        )

    with VIEWERS.labels("jsonl").track_inprogress():
        async with aclosing(_told(image_id, wanted)) as source:
            async for told in source:
                match told:
                    case Lines():
                        if piece := rows_of(told):
                            yield piece
                    case Silence():
                        yield _row(type="keepalive")
                    case Done():
                        yield _row(
                            type="done",
                            attempt=told.cursor.attempt,
                            state=state_word(told.status or Status.FAILED),
                            status=told.api_status,
                        )


def _row(**values: Any) -> bytes:
    return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)


async def _told(image_id: UUID, wanted: Wanted) -> AsyncGenerator[Lines | Silence | Done, None]:
    start = wanted.cursor
    if wanted.tail is not None:
        start = await tail_start(image_id, start, wanted.lines, wanted.tail)
    if wanted.follow:
        async with aclosing(follow(image_id, start)) as source:
            async for told in source:
                if isinstance(told, Lines | Silence | Done):
                    yield told
        return
    at = start
    async with aclosing(snapshot(image_id, start)) as lines:
        async for each in lines:
            at = Cursor(each.start.attempt, each.stop)
            yield each
    done = await in_reader(_done, image_id, at)
    if done is not None:
        yield done


def _done(image_id: UUID, at: Cursor) -> Done | None:
    """The final object, if every line before it was read."""
    found = page(image_id, attempt=at.attempt, line=at.line, most=1)
    if found is None or found.lines or not found.ended:
        return None
    if found.head.status is Status.LOST:
        return _done(image_id, Cursor(at.attempt + 1, 0))
    return Done(Cursor(at.attempt, at.line, done=True), found.head.status, found.head.api_status)
