"""Splits a Dockerfile into instructions by the rules of BuildKit 0.13's parser.

Every instruction records the positions of its characters in the Dockerfile, so that single words
can be replaced while everything else keeps its bytes and its line.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from builds.dockerfile.errors import DockerfileRefused, LeftToBuildKit
from builds.dockerfile.expansion import SPACES, Budget, Lexer, TooMuchWork, Unreadable

MAX_BYTES = 1024 * 1024
MAX_LINE_BYTES = 65_535
MAX_INSTRUCTIONS = 10_000
MAX_FLAGS = 1_000
MAX_FLAG_CHARACTERS = 16 * 1024
WORDS = {
    "add", "arg", "cmd", "copy", "entrypoint", "env", "expose", "from", "healthcheck", "label",
    "maintainer", "onbuild", "run", "shell", "stopsignal", "user", "volume", "workdir",
}  # fmt: skip
BLANK = "\t\v\f\r "
"""The characters at which BuildKit splits words."""
_BLANKS = re.compile(f"[{BLANK}]+")
_FLAG_SPACE = "\t\n\v\f\r "
_FLAG_SPACE_BYTES = {0x85, 0xA0}
_WITH_HEREDOCS = {"add", "copy", "run"}
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_JSON_SPACE = " \t\n\r"
_JSON_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+"')


class Places:
    """Positions of an instruction's characters in the Dockerfile, stored as contiguous runs."""

    def __init__(self) -> None:
        self._starts = array("l")
        self._sources = array("l")
        self._length = 0

    def add(self, source: int, length: int) -> None:
        """Append a run: the next `length` characters are at `source` in the Dockerfile."""
        if length:
            self._starts.append(self._length)
            self._sources.append(source)
            self._length += length

    def find(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Runs (start, end) in the Dockerfile for a range of the instruction."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self._starts) and self._starts[index] < end:
            first = self._starts[index]
            after = self._starts[index + 1] if index + 1 < len(self._starts) else self._length
            offset = self._sources[index] - first
            yield max(start, first) + offset, min(end, after) + offset
            index += 1


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continued lines joined."""

    line: int
    """The line where it starts, counted from 1."""
    text: str
    places: Places
    body: str = ""
    """The lines of its heredocs."""

    @cached_property
    def _parts(self) -> tuple[str, int]:
        start = len(self.text) - len(self.text.lstrip(SPACES))
        blanks = _BLANKS.search(self.text, start)
        stripped = len(self.text.rstrip(SPACES))
        if blanks is None or blanks.end() >= stripped:
            return lower(self.text[start:stripped]), stripped
        return lower(self.text[start : blanks.start()]), blanks.end()

    @property
    def word(self) -> str:
        """The instruction's name in lower case."""
        return self._parts[0]

    @property
    def rest_at(self) -> int:
        """Index in `text` where its flags and arguments start."""
        return self._parts[1]

    @cached_property
    def flags(self) -> "Flags":
        try:
            return Flags.read(self.text, self.rest_at)
        except _TooManyFlags as error:
            raise DockerfileRefused(
                f"an instruction takes up to {MAX_FLAGS} flags of up to {MAX_FLAG_CHARACTERS} "
                "characters: use fewer",
                line=self.line,
            ) from error

    @cached_property
    def arguments(self) -> str:
        """The text after the flags, without surrounding spaces."""
        return self.text[self.flags.end :].strip(SPACES)


@dataclass(frozen=True, eq=False, slots=True)
class Flag:
    """`--name=value`. Quotes and escapes are removed from the value."""

    name: str
    value: str
    starts: Sequence[int]
    ends: Sequence[int]
    """Range of each character of the value in the instruction, including its escape character."""
    quotes: str
    """For each character the quote that is open around it, or a space."""


class _TooManyFlags(ValueError):
    """There are too many flags, or one is too long."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags before an instruction's arguments."""

    all: tuple[Flag, ...]
    end: int
    """Index in the instruction where the arguments start."""

    def values(self, name: str) -> list[Flag]:
        return [flag for flag in self.all if flag.name == name]

    @classmethod
    def read(cls, text: str, at: int) -> "Flags":
        flags: list[Flag] = []
        while True:
            while at < len(text) and text[at] in _FLAG_SPACE:
                at += 1
            if not text.startswith("--", at):
                return cls(tuple(flags), at)
            reading = _FlagReader(text, at)
            at = reading.at
            if reading.word == "--":
                return cls(tuple(flags), at)
            if len(flags) == MAX_FLAGS:
                raise _TooManyFlags
            flags.append(reading.flag())
            if reading.ended:
                return cls(tuple(flags), at)


class _FlagReader:
    """Reads one flag as BuildKit does: byte by byte, so that the bytes 0x85 and 0xA0 are spaces
    even inside a character.
    """

    def __init__(self, text: str, at: int) -> None:
        self.at = at
        self.ended = False
        """Whether no other flag can follow."""
        self._starts = array("l")
        self._ends = array("l")
        self._values: list[str] = []
        self._quotes: list[str] = []
        self._read(text)
        self.word = "".join(self._values)

    def flag(self) -> Flag:
        name, _, value = self.word[2:].partition("=")
        skipped = len(self.word) - len(value)
        quotes = "".join(self._quotes[skipped:])
        return Flag(name, value, self._starts[skipped:], self._ends[skipped:], quotes)

    def _read(self, text: str) -> None:
        quote = ""
        while self.at < len(text):
            start, char = self.at, text[self.at]
            self.at += 1
            if char == "\\":
                if self.at == len(text):
                    return
                char = text[self.at]
                self.at += 1
            elif quote and char == quote:
                quote = ""
                continue
            elif not quote and char in "'\"":
                quote = char
                continue
            elif not quote and char in _FLAG_SPACE:
                self.at = start
                return
            if not self._add(char, start, quote):
                return
            if len(self._values) > MAX_FLAG_CHARACTERS:
                raise _TooManyFlags

    def _add(self, char: str, start: int, quote: str) -> bool:
        coded = char.encode()
        for count, byte in enumerate(coded, start=1):
            if byte in _FLAG_SPACE_BYTES and not quote and len(coded) > 1:
                self.ended = count < len(coded)
                return False
            self._values.append(chr(byte))
            self._starts.append(start)
            self._ends.append(self.at)
            self._quotes.append(quote or " ")
        return True


@dataclass(frozen=True, slots=True)
class Source:
    """A whole Dockerfile."""

    escape: str
    instructions: tuple[Instruction, ...]


def lower(text: str) -> str:
    """Convert to lower case as Go does, character by character."""
    return text.replace("\u0130", "i").lower()


def check_size(text: str) -> None:
    """Refuse texts that BuildKit parses wrongly, or reports late or with a wrong line.

    Raises DockerfileRefused.
    """
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise DockerfileRefused(
            "the Dockerfile is larger than 1 MiB: put data into the build context and COPY it"
        )
    check_lines(text)


def check_lines(text: str) -> None:
    """The checks of `check_size` for single lines. Raises DockerfileRefused."""
    at = number = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end]
        at = end + 1
        number += 1
        if "\0" in line:
            raise DockerfileRefused("there is a NUL byte in it: save it as plain text", line=number)
        try:
            size = len(line.encode())
        except UnicodeEncodeError as error:
            raise DockerfileRefused(
                "it holds half of a surrogate pair: save it as UTF-8", line=number
            ) from error
        if size > MAX_LINE_BYTES:
            raise DockerfileRefused(
                f"it has {size} bytes, and a line may have {MAX_LINE_BYTES}: "
                "break it with \\, or put the data into the build context",
                line=number,
            )


def parse(text: str, escape: str, budget: Budget) -> Source:
    """Split into instructions. Raises DockerfileRefused, or LeftToBuildKit for syntax errors."""
    instructions: list[Instruction] = []
    for instruction in _Parser(text, escape, budget).read():
        if len(instructions) == MAX_INSTRUCTIONS:
            raise DockerfileRefused(
                f"there are more than {MAX_INSTRUCTIONS} instructions: put more into each",
                line=instruction.line,
            )
        instructions.append(instruction)
    return Source(escape, tuple(instructions))


class _Parser:
    def __init__(self, text: str, escape: str, budget: Budget) -> None:
        self._text = text
        self._escape = escape
        self._budget = budget
        self._at = 1 if text.startswith("\ufeff") else 0
        self._number = 0

    def read(self) -> Iterator[Instruction]:
        while (line := self._next_line()) is not None:
            if instruction := self._instruction(*line):
                yield instruction

    def _next_line(self) -> tuple[int, str] | None:
        """The next line with its newline, and its position in the Dockerfile."""
        start = self._at
        if start >= len(self._text):
            return None
        end = self._text.find("\n", start) + 1 or len(self._text)
        self._at = end
        self._number += 1
        return start, self._text[start:end]

    def _instruction(self, start: int, line: str) -> Instruction | None:
        number = self._number
        content = line.rstrip("\r\n").lstrip(SPACES)
        start += len(line.rstrip("\r\n")) - len(content)
        if content.startswith("#"):
            content = ""
        content, continued = self._continued(content)
        if not content and not continued:
            return None
        joined, places = [content], Places()
        places.add(start, len(content))
        while continued and (following := self._next_line()) is not None:
            start, line = following
            bare = line.rstrip("\r\n")
            if not (stripped := bare.lstrip(SPACES)) or stripped.startswith("#"):
                continue  # empty lines and comments do not end a continued instruction
            content, continued = self._continued(bare)
            places.add(start, len(content))
            joined.append(content)
        instruction = Instruction(number, "".join(joined), places)
        if instruction.word not in WORDS:
            raise LeftToBuildKit
        names = self._heredocs(instruction)
        if not names:
            return instruction
        body = "".join(self._heredoc_lines(names))
        return Instruction(number, instruction.text, places, body)

    def _continued(self, content: str) -> tuple[str, bool]:
        bare = content.rstrip(" \t")
        if not bare.endswith(self._escape) or bare[-2:-1] == self._escape:
            return content, False
        return bare[:-1], True

    def _heredocs(self, instruction: Instruction) -> list[tuple[str, bool]]:
        """The delimiters of its heredocs, each with whether leading tabs are removed (`<<-`)."""
        if "<<" not in instruction.text or not _may_have_heredocs(instruction):
            return []
        try:
            return list(self._heredoc_names(instruction.text))
        except TooMuchWork as error:
            raise DockerfileRefused(str(error), line=instruction.line) from error

    def _heredoc_names(self, text: str) -> Iterator[tuple[str, bool]]:
        lexer = Lexer(text, {}, self._budget, raw_quotes=True, raw_escapes=True, keep_unset=True)
        try:
            words = lexer.words()
        except Unreadable:
            return  # BuildKit treats such a line as one without heredocs
        for word in words:
            found = _HEREDOC.fullmatch(word)
            if found is None:
                continue
            try:
                names = Lexer(found[2], {}, self._budget, keep_unset=True).words()
            except Unreadable as error:
                raise LeftToBuildKit from error
            if len(names) == 1:
                yield names[0], bool(found[1])

    def _heredoc_lines(self, names: list[tuple[str, bool]]) -> Iterator[str]:
        for name, chomp in names:
            while (following := self._next_line()) is not None:
                _, line = following
                yield line
                end = line.rstrip("\r\n")
                if (end.lstrip("\t") if chomp else end) == name:
                    break
            else:
                raise LeftToBuildKit


def _may_have_heredocs(instruction: Instruction) -> bool:
    if instruction.word == "onbuild":
        instruction = Instruction(instruction.line, instruction.arguments, instruction.places)
    return instruction.word in _WITH_HEREDOCS and not is_json(instruction.arguments)


def is_json(arguments: str) -> bool:
    """Whether BuildKit treats them as a JSON array of strings. Text after it is ignored."""
    at = 0

    def skip() -> str:
        nonlocal at
        while arguments[at : at + 1] and arguments[at] in _JSON_SPACE:
            at += 1
        return arguments[at : at + 1]

    if not arguments.startswith("["):
        return False
    at = 1
    if skip() == "]":
        return True
    while found := _JSON_STRING.match(arguments, at):
        at = found.end()
        after = skip()
        at += 1
        if after == "]":
            return True
        if after != ",":
            return False
        skip()
    return False
