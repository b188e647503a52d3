"""The log as server-sent events and as text, both from the same `follow`."""

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import orjson

from builds.logs.follow import Cursor, Done, Lines, Silence, follow

SSE = "text/event-stream"
EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The cursor of what follows."},
        "event": {"type": "string", "enum": ["message", "done"]},
        "data": {
            "type": "string",
            "description": "A JSON object of `log` (`log_type`, `log`, `line`, `ts`) and `offset`, "
            "which is the id again. Of `done`, the image's status as a JSON string.",
        },
    },
    "required": ["id", "data"],
}
"""Each event in OpenAPI."""


async def events(image_id: UUID, cursor: Cursor) -> AsyncIterator[bytes]:
    """Valid SSE, and what the `chutes` command line reads; always ends in `DONE`."""
    yield b"retry: 1000\n\n"
    async for found in follow(image_id, cursor):
        match found:
            case Lines(start, lines):
                at = start.line
                batch = []
                for line in lines:
                    following = f"{start.attempt}:{at + 1}"
                    log = {
                        "log_type": line.stream,
                        "log": line.text,
                        "line": at,
                        "ts": timestamp(line.at),
                    }
                    data = orjson.dumps({"log": log, "offset": following})
                    batch.append(b"id: %s\ndata: %s\n\n" % (following.encode(), data))
                    at += 1
                yield b"".join(batch)
            case Silence():
                yield b": keepalive\n\n"
            case Done(end, word):
                data = orjson.dumps(word)
                yield b"id: %s\nevent: done\ndata: %s\n\nDONE\n\n" % (str(end).encode(), data)


async def text(image_id: UUID, cursor: Cursor) -> AsyncIterator[bytes]:
    """The lines alone, of an attempt that has ended."""
    async for found in follow(image_id, cursor):
        if isinstance(found, Lines):
            yield "".join(f"{line.text}\n" for line in found.lines).encode()


def timestamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
