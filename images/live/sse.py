"""The log as server-sent events."""

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import orjson

from builds.logs.cursor import Cursor, Lines
from builds.logs.follow import Done, Silence, follow
from builds.metrics import VIEWERS

SSE = "text/event-stream"
EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The cursor of what follows."},
        "event": {"type": "string", "enum": ["message", "done"]},
        "data": {
            "type": "string",
            "description": "A JSON object of `log` (`log_type`, `log`, `line`, `ts`, `step`, and "
            "`heading`, true, where a step begins or goes on) and `offset`, which is the id "
            "again. Of `done`, the image's status as a JSON string.",
        },
    },
    "required": ["id", "data"],
}
"""Each event in OpenAPI."""
SHUT_OUT = b'event: done\ndata: "error: this log may not be read any more"\n\nDONE\n\n'
"""The end for somebody whose key was revoked, or from whom the image was hidden."""


async def events(image_id: UUID, cursor: Cursor) -> AsyncIterator[bytes]:
    """Valid SSE, and what the `chutes` command line reads; always ends in `DONE`."""
    yield b"retry: 1000\n\n"
    with VIEWERS.labels("events").track_inprogress():
        async for told in follow(image_id, cursor):
            match told:
                case Lines():
                    yield told.once(_events_of)
                case Silence():
                    yield b": keepalive\n\n"
                case Done():
                    data = orjson.dumps(told.api_status)
                    yield b"id: %s\nevent: done\ndata: %s\n\nDONE\n\n" % (
                        str(told.cursor).encode(),
                        data,
                    )


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
