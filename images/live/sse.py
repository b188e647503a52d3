"""The log as server-sent events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from uuid import UUID

import orjson

from builds.logs.cursor import Cursor, Lines
from builds.logs.follow import Done, Silence, follow
from builds.metrics import VIEWERS

SSE = "text/event-stream"
EVENT = {
    "type": "string",
    "description": (
        "Server-sent events. `data` of each is a JSON object of `log` (`log_type`, `log`, `line`,"
        " `ts`, `step`, and `heading`, true, where a step begins or goes on) and `offset`. `id` "
        "is the cursor of what follows, and `offset` the same. The last event is named `done`: "
        "its `data` is the image's status as a JSON string."
    ),
}
"""The stream in OpenAPI, which has no way to describe each event."""
KEEPALIVE = b": keepalive\n\n"
_DENIED = b'event: done\ndata: "error: this log may not be read any more"\n'
DENIED = _DENIED + b"DONE\n\n"
"""The end of the stream when the key was revoked or the image became hidden."""
COMMAND_LINE_DENIED = _DENIED + b"\nDONE\n\n"
RETRY = b"retry: 1000\n"


async def command_line_events(image_id: UUID, cursor: Cursor) -> AsyncGenerator[bytes, None]:
    """Valid SSE that the `chutes` command line can read: it needs `DONE` in a block of its own."""
    yield RETRY + b"\n"
    async with aclosing(_events(image_id, cursor)) as source:
        async for piece, last in source:
            yield piece + b"\nDONE\n\n" if last else piece


async def events(image_id: UUID, cursor: Cursor) -> AsyncGenerator[bytes, None]:
    """The same without blocks that have no data: `retry` is in the first block, `DONE` in the
    last."""
    first = True
    async with aclosing(_events(image_id, cursor)) as source:
        async for piece, last in source:
            told = piece + b"DONE\n\n" if last else piece
            yield RETRY + told if first and told != KEEPALIVE else told
            first = first and told == KEEPALIVE


async def _events(image_id: UUID, cursor: Cursor) -> AsyncGenerator[tuple[bytes, bool], None]:
    """Complete blocks; the last one without its blank line."""
    with VIEWERS.labels("events").track_inprogress():
        async with aclosing(follow(image_id, cursor)) as source:
            async for told in source:
                match told:
                    case Lines():
                        yield told.once(_events_of), False
                    case Silence():
                        yield KEEPALIVE, False
                    case Done():
                        status = orjson.dumps(told.api_status)
                        end = str(told.cursor).encode()
                        yield b"id: %s\nevent: done\ndata: %s\n" % (end, status), True


def _events_of(lines: Lines) -> bytes:
    batch = []
    for at, line in enumerate(lines.lines, lines.start.line):
        following = f"{lines.start.attempt}:{at + (lines.gap or 1)}"
        log = {
            "log_type": line.stream,
            "log": line.text,
            "line": at,
            "ts": timestamp(line.at),
            "step": line.step,
        }
        if line.heading:
            log["heading"] = True
        data = orjson.dumps({"log": log, "offset": following})
        batch.append(b"id: %s\ndata: %s\n\n" % (following.encode(), data))
    return b"".join(batch)


def timestamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
