"""What `.dockerignore` excludes, by Docker's rules, in time linear in the path.

BuildKit's client applies the file itself; this tells why a COPY found nothing.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

MOST_BYTES = 256 * 1024
MOST_PATTERNS = 1000
MOST_PATTERN_CHARACTERS = 1024

_NAMES = ("Dockerfile.dockerignore", ".dockerignore")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DockerignoreError(ValueError):
    """The file cannot be applied: by Docker neither, or it is beyond the limits here."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the file."""

    line: int
    text: str
    exception: bool
    """Whether it starts with `!`: what matches is sent after all."""
    pattern: "_Pattern"


class Dockerignore:
    """The rules of one file. Later ones outrank earlier ones."""

    def __init__(self, text: str) -> None:
        """Raises DockerignoreError."""
        self.rules = tuple(_rules(text))

    def excluding(self, path: str) -> Rule | None:
        """The rule that keeps a path below the context from the build; None where it is sent.

        A rule that matches a folder above the path counts like one that matches the path.
        """
        found: Rule | None = None
        path = normpath(path).lstrip("/")
        for rule in self.rules:
            # A rule that cannot change the outcome is not looked at.
            if rule.exception == (found is not None) and rule.pattern.matches(path):
                found = None if rule.exception else rule
        return found

    def excludes(self, path: str) -> bool:
        return self.excluding(path) is not None


def load_dockerignore(context: Path) -> Dockerignore | None:
    """Of an unpacked context: `Dockerfile.dockerignore`, else `.dockerignore`; None for neither.

    Links are not followed. Raises DockerignoreError.
    """
    folder = os.open(context, _FOLDER_FLAGS)
    try:
        for name in _NAMES:
            data = _read(name, folder)
            if data is not None:
                return Dockerignore(data.decode(errors="replace"))
    finally:
        os.close(folder)
    return None


def _read(name: str, folder: int) -> bytes | None:
    try:
        descriptor = os.open(name, _FILE_FLAGS, dir_fd=folder)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise DockerignoreError(f"{name} is larger than {MOST_BYTES:,} bytes")
    return data


def _rules(text: str) -> Iterator[Rule]:
    count = 0
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        # A comment starts in the first column only.
        if line.startswith("#") or not line.strip():
            continue
        count += 1
        if count > MOST_PATTERNS:
            raise DockerignoreError(f"there are more than {MOST_PATTERNS:,} patterns")
        shown = pattern = line.strip()
        exception = pattern.startswith("!")
        if exception:
            pattern = pattern[1:].strip()
            if not pattern:
                raise DockerignoreError(f"line {number} is '!' alone, without a pattern")
        if len(pattern) > MOST_PATTERN_CHARACTERS:
            raise DockerignoreError(
                f"line {number} is longer than {MOST_PATTERN_CHARACTERS:,} characters"
            )
        yield Rule(number, shown, exception, _Pattern(_clean(pattern), number))


def _clean(pattern: str) -> str:
    """Without `.`, `..`, doubled and trailing slashes and the first slash, as Go cleans paths."""
    cleaned = normpath(pattern)
    if cleaned.startswith("//"):
        cleaned = cleaned[1:]
    return cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned


@dataclass(frozen=True, slots=True)
class _Characters:
    """`[a-z]` or `[^a-z]`. As in Docker, the latter takes a slash too."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def __contains__(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.negated


class _Pattern:
    """A pattern as a nondeterministic automaton whose set of states is one integer.

    State n is the place before the n-th token. `**/` takes two places: before it, where it may be
    skipped, and inside it, which only a slash leaves.
    """

    def __init__(self, pattern: str, line: int) -> None:
        self._line = line
        self._tokens: list[str | _Characters | None] = []
        """What one character must be to come to the next place; None where that is said below."""
        self._stars = self._tails = self._deep_starts = self._deep_insides = self._singles = 0
        self._steps: dict[str, int] = {}
        self._parse(pattern)
        self._end = 1 << len(self._tokens)

    def matches(self, path: str) -> bool:
        """Whether it matches the path or a folder above it."""
        states = self._skip(1)
        for character in path:
            if character == "/" and states & self._end:
                return True
            moved = (states & self._step(character)) << 1
            moved |= states & (self._tails | self._deep_insides)
            moved |= (states & self._deep_starts) << 1
            if character == "/":
                moved |= (states & self._deep_starts) << 2 | (states & self._deep_insides) << 1
            else:
                moved |= states & self._stars | (states & self._singles) << 1
            if not moved:
                return False
            states = self._skip(moved)
        return bool(states & self._end)

    def _skip(self, states: int) -> int:
        """With the places that are reached without a character."""
        while True:
            more = states | (states & (self._stars | self._tails)) << 1
            more |= (states & self._deep_starts) << 2
            if more == states:
                return states
            states = more

    def _step(self, character: str) -> int:
        """The places that this character leads on from."""
        if character not in self._steps:
            self._steps[character] = sum(
                1 << place
                for place, token in enumerate(self._tokens)
                if token is not None
                and (token == character if isinstance(token, str) else character in token)
            )
        return self._steps[character]

    def _parse(self, pattern: str) -> None:
        at = 0
        while at < len(pattern):
            character = pattern[at]
            here = 1 << len(self._tokens)
            at += 1
            if character == "*" and pattern[at : at + 1] == "*":
                at += 1 + (pattern[at + 1 : at + 2] == "/")
                if at >= len(pattern):
                    self._tails |= here
                    self._tokens.append(None)
                elif not self._deep_insides & here >> 1:  # twice is as good as once
                    self._deep_starts |= here
                    self._deep_insides |= here << 1
                    self._tokens += [None, None]
            elif character == "*":
                self._stars |= here
                self._tokens.append(None)
            elif character == "?":
                self._singles |= here
                self._tokens.append(None)
            elif character == "[":
                token, at = self._characters(pattern, at)
                self._tokens.append(token)
            elif character == "\\":
                if at == len(pattern):
                    raise self._bad("ends in a backslash")
                self._tokens.append(pattern[at])
                at += 1
            else:
                self._tokens.append(character)

    def _characters(self, pattern: str, at: int) -> tuple[_Characters, int]:
        negated = pattern[at : at + 1] == "^"
        at += negated
        ranges: list[tuple[str, str]] = []
        while pattern[at : at + 1] != "]" or not ranges:
            low, at = self._character(pattern, at)
            high = low
            if pattern[at : at + 1] == "-":
                high, at = self._character(pattern, at + 1)
            ranges.append((low, high))
        return _Characters(tuple(ranges), negated), at + 1

    def _character(self, pattern: str, at: int) -> tuple[str, int]:
        if pattern[at : at + 1] == "\\":
            at += 1
        elif pattern[at : at + 1] in {"-", "]"}:
            raise self._bad("has a '[…]' that cannot be read")
        if at >= len(pattern):
            raise self._bad("has a '[' without its ']'")
        return pattern[at], at + 1

    def _bad(self, complaint: str) -> DockerignoreError:
        return DockerignoreError(f"line {self._line} {complaint}")
