"""Masks secrets in a byte stream before it leaves the worker."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from copy import copy
from urllib.parse import quote, quote_plus

MASK = b"***"
LEAST_BYTES = 4
"""Shorter secrets are not masked: they occur in any text, and masking would reveal them."""


class Masker:
    """Masks one stream. The output does not depend on how the input is chunked.

    A secret is recognised as plain text, percent-encoded, JSON-escaped, and in base64 at each of
    the three possible offsets. Each line of a multi-line secret counts as a secret. Every run of
    bytes covered by occurrences becomes one `***`.

    Only a tail that may be the beginning of a secret is held back, until more data comes or `flush`
    is called. Base64 with line breaks inside the secret is not recognised.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = tuple(secrets)
        found = {each for secret in self.secrets for each in _spellings(secret)}
        self._spellings = sorted(each for each in found if len(each) >= LEAST_BYTES)
        self._longest = max(map(len, self._spellings), default=0)
        self._by_start: dict[bytes, list[bytes]] = {}
        for each in self._spellings:
            self._by_start.setdefault(each[:1], []).append(each)
        starts = b"".join(map(re.escape, self._by_start))
        self._starts = re.compile(b"[" + starts + b"]" if starts else b"(?!)")
        self._on_one_line = not any(b"\n" in each for each in self._spellings)
        self._kept = b""
        self._masked = 0
        """How many bytes at the start of `_kept` belong to a mask that was already emitted."""

    def fresh(self) -> "Masker":
        """A masker with the same secrets for another stream."""
        made = copy(self)
        made.flush()
        return made

    def whole(self, text: str) -> str:
        """Mask a complete text."""
        masker = self.fresh()
        return (masker.feed(text.encode()) + masker.flush()).decode(errors="replace")

    def feed(self, data: bytes) -> bytes:
        """Add bytes. Returns those that are safe to emit."""
        data = self._kept + data
        return self._emit(data, self._may_go_on(data))

    def flush(self) -> bytes:
        """End the stream. Returns the bytes that were held back, masked."""
        return self._emit(self._kept, len(self._kept))

    def _emit(self, data: bytes, end: int) -> bytes:
        """Return `data[:end]` masked, and keep the rest. Every spelling that begins before `end`
        must be complete in `data`."""
        runs = self._runs(data, end)
        shown: list[bytes] = []
        at = self._masked
        for start, stop in runs:
            if start >= at:
                shown += [data[at:start], MASK]
            at = max(at, stop)
        shown.append(data[at:end])
        self._masked = max(0, at - end)
        self._kept = data[end:]
        return b"".join(shown)

    def _runs(self, data: bytes, end: int) -> list[tuple[int, int]]:
        """Start and stop of occurrences that begin before `end`, sorted; they may overlap."""
        found = []
        for spelling in self._spellings:
            at = data.find(spelling)
            while 0 <= at < end:
                found.append((at, at + len(spelling)))
                at = data.find(spelling, at + 1)
        return sorted(found)

    def _may_go_on(self, data: bytes) -> int:
        """Start of the longest tail of `data` that is a proper prefix of some spelling."""
        begin = max(0, len(data) - self._longest + 1)
        if self._on_one_line:
            begin = max(begin, data.rfind(b"\n") + 1)
        for start in self._starts.finditer(data, begin):
            tail = data[start.start() :]
            if any(
                len(each) > len(tail) and each.startswith(tail) for each in self._by_start[start[0]]
            ):
                return start.start()
        return len(data)


def _spellings(secret: str) -> Iterator[bytes]:
    for text in {secret, *secret.splitlines()}:
        raw = text.encode()
        yield raw
        for escaped in (quote(text), quote(text, safe=""), quote_plus(text)):
            yield escaped.encode()
            yield re.sub(r"%..", lambda code: code[0].lower(), escaped).encode()
        for escaped in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
            yield escaped[1:-1].encode()
            yield escaped[1:-1].replace("/", r"\/").encode()
        yield _html_safe_json(text).encode()
        yield from _in_base64(raw)


def _html_safe_json(text: str) -> str:
    """JSON escaping as Go does it by default."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    for character in "<>&":
        escaped = escaped.replace(character, f"\\u{ord(character):04x}")
    return escaped


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """The base64 characters determined by the secret alone, when 0, 1 or 2 bytes precede it."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        whole = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        yield whole
        yield whole.translate(bytes.maketrans(b"+/", b"-_"))
    yield base64.b64encode(raw)
    yield base64.urlsafe_b64encode(raw)
