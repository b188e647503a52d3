r"""Turns the bytes of a step's two streams into lines that can be stored once and never changed.

What a line is:

* A newline ends a line; `\r\n` is a newline; nothing else is one (Unicode's other line ends are
  text). Bytes that are no UTF-8 become U+FFFD, NUL is removed, indentation and colours stay.
* Text that returns to its line's start (`\r`) is drawn over: of a progress bar the last state that
  is not empty stays.
* A line of more than LINE_CHARACTERS is cut, and each piece but the last ends in CUT.
* The lines of the two streams come in the order in which they ended.

All this holds for any chunking of the same bytes. Time is the one exception: a stored line cannot
change, yet a prompt like `Downloading... ` without a newline must become visible. So text that
waits for its end longer than PARTIAL_SECONDS, counted from its first byte (not from its last, or a
row of dots would never show), becomes a line, and what follows it starts the next one. A line that
is being redrawn waits REDRAWN_SECONDS instead: it is seen to live, and does not flood the log.
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
    """One line, without its newline. Its number is its place in the attempt's log."""

    stream: Stream
    text: str
    at: datetime
    """When its end was read."""
    step: int | None = None
    """The number of the step that it belongs to; None where it belongs to none."""
    heading: bool = False
    """Slipway wrote it to say that the lines which follow are of `step`."""


@lru_cache(maxsize=64)
def since_1970(at: datetime) -> int:
    """In microseconds. Lines that were read together have one time: few are ever computed."""
    return round(at.timestamp() * 1_000_000)


@lru_cache(maxsize=64)
def moment(microseconds: int) -> datetime:
    """So many after 1970 began."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def kind(line: LogLine) -> str:
    """In one letter, as it is stored: "h" for a heading, else "o" or "e" for the stream."""
    return "h" if line.heading else line.stream[3]


class LineSplitter:
    """The lines of one step. One thread drives it; time only ever comes from `feed`."""

    def __init__(self, step: int | None = None) -> None:
        self.step = step
        """As in LogLine."""
        self._partials: dict[Stream, _Partial] = {
            "stdout": _Partial("stdout"),
            "stderr": _Partial("stderr"),
        }

    def feed(self, stream: Stream, data: bytes, at: datetime) -> list[LogLine]:
        """Lines that ended with `data`, and partial lines that waited long enough.

        Call it with empty data from time to time, for whichever stream, or the latter wait on.
        """
        lines = self._split(self._partials[stream], data, at) if data else []
        for partial in self._partials.values():
            if partial.is_due(at):
                lines.append(self._line(partial.stream, partial.take(shown=True), at))
        return lines

    def flush(self) -> list[LogLine]:
        """What has no newline yet, each stream on a line of its own."""
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
            # Only a chunk's first line can have begun before.
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
    """A line of one stream that has not ended yet."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.at = datetime.min  # noqa: DTZ901 - nothing is shown before the first feed sets it
        self.shown = False
        """Whether its beginning became a line already, so that its newline alone is none."""
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
        """Adds text without newlines; returns pieces of full length that must be cut off."""
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
        """The line as it stands; what comes next begins again."""
        text = self._text or self._drawn_over
        self._text = self._drawn_over = ""
        self._redrawn = False
        self._since = None
        self.shown = shown
        return text
