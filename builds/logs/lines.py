r"""Splits the bytes of a step's two streams into lines that never change once stored.

Rules:

* A newline ends a line, and so does `\r\n`. Unicode's other line separators are text. Bytes that
  are not UTF-8 become U+FFFD, NUL is removed, indentation and colours are kept.
* After `\r` the line is drawn over. Of a progress bar only the last non-empty state is kept.
* A line of more than LINE_CHARACTERS is cut; each piece but the last ends in CUT.
* Lines of the two streams are in the order in which they ended.

The result does not depend on how the bytes are chunked, with one exception. A stored line cannot
change, yet a prompt like `Downloading... ` without a newline must become visible. So text without a
line end becomes a line PARTIAL_SECONDS after its first byte (not its last, or a row of dots would
never show), and what follows starts a new line. A line that is being redrawn waits REDRAWN_SECONDS,
which shows progress without flooding the log.
"""

import codecs
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from builds.build_spec import Stream

LINE_CHARACTERS = 16 * 1024
CUT = "…"
PARTIAL_SECONDS = timedelta(seconds=1)
REDRAWN_SECONDS = timedelta(seconds=10)


class LogLine(NamedTuple):
    """One line, without its newline. Its number is its position in the attempt's log."""

    stream: Stream
    text: str
    at: datetime
    """When its end was read."""
    step: int | None = None
    """The number of its step; None if it belongs to no step."""
    heading: bool = False
    """Slipway wrote it as the heading of the lines of `step` that follow."""


@lru_cache(maxsize=64)
def since_1970(at: datetime) -> int:
    """Microseconds since 1970. Cached, as lines that were read together share one time."""
    return round(at.timestamp() * 1_000_000)


@lru_cache(maxsize=64)
def moment(microseconds: int) -> datetime:
    """The time in UTC of this many microseconds since 1970."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def kind(line: LogLine) -> str:
    """The stored kind: "h" for a heading, "o" for stdout, "e" for stderr."""
    return "h" if line.heading else line.stream[3]


class LineSplitter:
    """Splits the output of one step. Use it from one thread. Its only clock is the `at` of
    `feed`."""

    def __init__(self, step: int | None = None) -> None:
        self.step = step
        """See `LogLine.step`."""
        self._partials: dict[Stream, _Partial] = {
            "stdout": _Partial("stdout"),
            "stderr": _Partial("stderr"),
        }

    def feed(self, stream: Stream, data: bytes, at: datetime) -> list[LogLine]:
        """Add `data`. Returns the lines that it ended, and partial lines that are due.

        Call it regularly with empty data, for either stream; otherwise partial lines stay
        invisible.
        """
        lines = self._split(self._partials[stream], data, at) if data else []
        for partial in self._partials.values():
            if partial.is_due(at):
                lines.append(self._line(partial.stream, partial.take(shown=True), at))
        return lines

    def flush(self) -> list[LogLine]:
        """Return unfinished lines, one per stream."""
        lines: list[LogLine] = []
        for partial in self._partials.values():
            lines += self._pieces(partial, partial.decode(b"", final=True), partial.at)
            if text := partial.take():
                lines.append(self._line(partial.stream, text, partial.at))
        return lines

    def _split(self, partial: "_Partial", data: bytes, at: datetime) -> list[LogLine]:
        partial.at = at
        text = partial.decode(data)
        *ended, rest = text.split("\n")
        lines: list[LogLine] = []
        if ended and partial.waits:
            # Only the first line of a chunk can have an earlier part.
            lines += self._end(partial, ended.pop(0), at)
        if "\r" in text or len(max(ended, key=len, default="")) > LINE_CHARACTERS:
            for each in ended:
                lines += self._end(partial, each, at)
        else:
            stream, step = partial.stream, self.step
            lines += [LogLine(stream=stream, text=each, at=at, step=step) for each in ended]
        lines += self._pieces(partial, rest, at)
        return lines

    def _end(self, partial: "_Partial", text: str, at: datetime) -> list[LogLine]:
        lines = self._pieces(partial, text, at)
        was_shown = partial.shown
        text = partial.take()
        if text or not was_shown:
            lines.append(self._line(partial.stream, text, at))
        return lines

    def _pieces(self, partial: "_Partial", text: str, at: datetime) -> list[LogLine]:
        return [self._line(partial.stream, piece + CUT, at) for piece in partial.draw(text)]

    def _line(self, stream: Stream, text: str, at: datetime) -> LogLine:
        return LogLine(stream=stream, text=text, at=at, step=self.step)


class _Partial:
    """An unfinished line of one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.at = datetime.min  # noqa: DTZ901 - set by the first feed, before any line is shown
        self.shown = False
        """Whether its beginning was already emitted as a line, so that a newline alone adds
        none."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._drawn_over = ""
        self._redrawn = False
        self._since: datetime | None = None

    @property
    def waits(self) -> bool:
        return self.shown or self._since is not None

    def is_due(self, at: datetime) -> bool:
        patience = REDRAWN_SECONDS if self._redrawn else PARTIAL_SECONDS
        return self._since is not None and at - self._since >= patience

    def decode(self, data: bytes, *, final: bool = False) -> str:
        return self._decoder.decode(data, final).replace("\0", "")

    def draw(self, text: str) -> list[str]:
        """Add text without newlines. Returns pieces of full length to cut off."""
        if not text:
            return []
        pieces: list[str] = []
        for number, drawn in enumerate(text.split("\r")):
            if number:
                self._drawn_over = self._text or self._drawn_over
                self._text = ""
                self._redrawn = True
            whole = self._text + drawn
            end = max(0, len(whole) - 1) // LINE_CHARACTERS * LINE_CHARACTERS
            pieces += [whole[at : at + LINE_CHARACTERS] for at in range(0, end, LINE_CHARACTERS)]
            self._text = whole[end:]
        if self._since is None and (self._text or self._drawn_over):
            self._since = self.at
        return pieces

    def take(self, *, shown: bool = False) -> str:
        """Return the current text and reset the line."""
        text = self._text or self._drawn_over
        self._text = self._drawn_over = ""
        self._redrawn = False
        self._since = None
        self.shown = shown
        return text
