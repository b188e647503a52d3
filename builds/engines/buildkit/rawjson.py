"""Splits buildx's `--progress=rawjson` output into JSON objects and the text between them.

Each object starts with a line `{` and ends with a line `}`. Its content is indented, and the
output of a build is base64 in it, so no output of a build can end or forge an object.
"""

import json
from collections.abc import Iterator
from typing import Any

MOST_OBJECT_BYTES = 32 << 20
MOST_TEXT_BYTES = 64 << 10


class Malformed(Exception):
    """The client wrote an invalid progress object, or one that is too large."""


class RawJson:
    """Incremental parser: feed it chunks of any size. `text` collects the text between objects."""

    def __init__(self) -> None:
        self.text = ""
        """At most the last MOST_TEXT_BYTES characters."""
        self._rest = b""
        self._object: list[bytes] | None = None
        self._size = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects that `data` completes. Raises Malformed."""
        *lines, rest = data.split(b"\n")
        if not lines:
            self._rest += rest
            self._check(len(self._rest))
            return
        lines[0] = self._rest + lines[0]
        self._rest = rest
        for line in lines:
            yield from self._line(line)

    def close(self) -> None:
        """End of the output: an unfinished object or line counts as text."""
        unfinished = [*(self._object or []), self._rest]
        self._object, self._rest = None, b""
        self._say(b"\n".join(unfinished))

    def _line(self, line: bytes) -> Iterator[dict[str, Any]]:
        if self._object is None:
            if line == b"{":
                self._object, self._size = [line], 1
            else:
                self._say(line + b"\n")
            return
        self._object.append(line)
        self._size += len(line)
        self._check(self._size)
        if line == b"}":
            whole, self._object = b"\n".join(self._object), None
            try:
                value = json.loads(whole)
            except ValueError as error:
                raise Malformed(f"no progress object: {error}") from error
            if isinstance(value, dict):
                yield value

    def _check(self, size: int) -> None:
        if size > MOST_OBJECT_BYTES:
            raise Malformed(f"a progress object of more than {MOST_OBJECT_BYTES} bytes")

    def _say(self, text: bytes) -> None:
        self.text = (self.text + text.decode(errors="replace"))[-MOST_TEXT_BYTES:]
