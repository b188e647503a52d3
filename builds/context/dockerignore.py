"""What `.dockerignore` excludes, by Docker's rules, in time linear in the path.

BuildKit's client applies the file itself; this tells why a COPY found nothing.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

from builds.context.path_pattern import BadPattern, PathPattern

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
    pattern: PathPattern


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
        yield Rule(number, shown, exception, _compile(_clean(pattern), number))


def _clean(pattern: str) -> str:
    """Without `.`, `..`, doubled and trailing slashes and the first slash, as Go cleans paths."""
    cleaned = normpath(pattern)
    if cleaned.startswith("//"):
        cleaned = cleaned[1:]
    return cleaned[1:].strip() if len(cleaned) > 1 and cleaned.startswith("/") else cleaned


def _compile(pattern: str, line: int) -> PathPattern:
    try:
        return PathPattern(pattern)
    except BadPattern as problem:
        raise DockerignoreError(f"line {line} {problem}") from problem
