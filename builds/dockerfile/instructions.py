"""Cuts a Dockerfile into instructions: directives, comments, continued lines and flags.

The engine never sees the text that was sent, only instructions put together again from what was
read here, one to a line. So the two cannot come to different readings of one Dockerfile.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_BYTES = 1024 * 1024
WORDS = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip
_WITH_FLAGS = {"ADD", "COPY", "FROM", "RUN"}
_WITH_HEREDOCS = {"ADD", "COPY", "ONBUILD", "RUN"}
_BLANK = " \t\v\f\r"
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_INSTRUCTION = re.compile(rf"([A-Za-z]+)(?:[{_BLANK}]+(.*))?", re.DOTALL)
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=([!-~]*))?")
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*\"""")
_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?[A-Za-z_Q]")


class DockerfileRefused(Exception):
    """A Dockerfile that Slipway does not build. The text names the line and says what to do."""

    def __init__(self, text: str, *, line: int | None = None) -> None:
        self.line = line
        self.text = text if line is None else f"Dockerfile line {line}: {text}"
        super().__init__(self.text)


@dataclass(frozen=True, slots=True)
class Flag:
    """`--name=value`, or `--name` alone."""

    name: str
    value: str | None

    def __str__(self) -> str:
        return f"--{self.name}" if self.value is None else f"--{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, continued lines joined."""

    line: int
    """Where it starts, from 1."""
    word: str
    """Upper case, one of WORDS."""
    flags: tuple[Flag, ...]
    rest: str

    def __str__(self) -> str:
        return " ".join(filter(None, [self.word, *map(str, self.flags), self.rest]))


@dataclass(frozen=True, slots=True)
class Source:
    """A whole Dockerfile as it was written."""

    escape: str
    instructions: tuple[Instruction, ...]


def parse(text: str) -> Source:
    """Every instruction in order. Raises DockerfileRefused where there is no reading it."""
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise DockerfileRefused(
            "the Dockerfile is larger than 1 MiB: put data into the build context and COPY it"
        )
    # Only "\n" ends a line, whatever else Unicode calls a line's end.
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise DockerfileRefused("there is a NUL byte in it: save it as plain text", line=number)
    escape = _escape(lines)
    instructions = tuple(
        instruction(joined, line=number, escape=escape) for number, joined in _join(lines, escape)
    )
    return Source(escape, instructions)


def _escape(lines: list[str]) -> str:
    """The escape directive; other directives choose front ends and checks that are not here."""
    for number, line in enumerate(lines, start=1):
        found = _DIRECTIVE.fullmatch(line.lstrip(_BLANK))
        if not found:
            break
        if found[1].lower() == "escape":
            if found[2] not in {"\\", "`"}:
                raise DockerfileRefused("escape can only be \\ or `", line=number)
            return found[2]
    return "\\"


def _join(lines: list[str], escape: str) -> Iterator[tuple[int, str]]:
    continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*$")
    numbered = enumerate(lines, start=1)
    for number, first in numbered:
        if _says_nothing(first):
            continue
        joined, more = continued.subn("", first)
        while more:
            _, line = next(numbered, (0, None))
            if line is None:
                break
            if _says_nothing(line):
                continue  # comments and empty lines do not end a continued instruction
            piece, more = continued.subn("", line)
            joined += piece
        if joined := joined.strip():
            yield number, joined


def _says_nothing(line: str) -> bool:
    line = line.lstrip(_BLANK)
    return not line or line.startswith("#")


def instruction(joined: str, *, line: int, escape: str) -> Instruction:
    """One joined line, or what follows ONBUILD."""
    found = _INSTRUCTION.fullmatch(joined)
    word = found[1].upper() if found else joined.partition(" ")[0]
    if not found or word not in WORDS:
        raise DockerfileRefused(f"{word[:40]!r} is not an instruction{_meant(word)}", line=line)
    if joined.endswith(escape):
        raise DockerfileRefused(
            f"it ends in {escape}, which older builders take for a continued line: "
            "end it in another character",
            line=line,
        )
    rest = (found[2] or "").strip()
    if word in _WITH_HEREDOCS and not rest.startswith("["):
        _refuse_heredoc(rest, line)
    flags = []
    while word in _WITH_FLAGS and rest.startswith("--"):
        flag, *after = rest.split(maxsplit=1)
        rest = after[0] if after else ""
        flags.append(_flag(flag, line, escape))
    return Instruction(line, word, tuple(flags), rest)


def _flag(text: str, line: int, escape: str) -> Flag:
    """Only plainly written flags: builders differ over quotes and variables in their names."""
    found = _FLAG.fullmatch(text)
    if not found or not set(text).isdisjoint({"'", '"', "\\", escape}):
        raise DockerfileRefused(
            f"the flag {text[:80]!r} cannot be read: write it as --name=value, "
            "without quotes and escapes",
            line=line,
        )
    return Flag(found[1], found[2])


def _refuse_heredoc(rest: str, line: int) -> None:
    if _HEREDOC.search(_QUOTED.sub("Q", rest)):
        raise DockerfileRefused(
            "heredocs (<<EOF) need a newer builder than this one: join the commands with && and "
            "end the lines in \\, or COPY a file from the build context",
            line=line,
        )


def _meant(word: str) -> str:
    close = difflib.get_close_matches(word, sorted(WORDS), n=1)
    return (
        f": did you mean {close[0]}?" if close else ": remove the line, or continue the one above"
    )
