"""Evaluates `.dockerignore` by Docker's rules, in time linear in the path.

BuildKit's client applies the file itself. This module only explains why a COPY found no file.
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

OF_DOCKERFILE = "Dockerfile.dockerignore"
"""Used instead of `.dockerignore` if it exists."""
_NAMES = (OF_DOCKERFILE, ".dockerignore")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DockerignoreError(ValueError):
    """The file is invalid for Docker too, or exceeds the limits here. The message is a clause."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the file."""

    line: int
    text: str
    exception: bool
    """Whether it starts with `!`: matching paths are included again."""
    pattern: PathPattern


class Dockerignore:
    """The rules of one file. Later rules override earlier ones."""

    def __init__(self, text: str) -> None:
        """Raises DockerignoreError."""
        self.rules = tuple(_rules(text))

    def excluding(self, path: str) -> Rule | None:
        """The rule that excludes a path of the context. None if the path is included.

        A rule that matches a parent folder also matches the path.
        """
        found: Rule | None = None
        path = normpath(path).lstrip("/")
        for rule in self.rules:
            # Rules that cannot change the result are skipped.
            if rule.exception == (found is not None) and rule.pattern.matches(path):
                found = None if rule.exception else rule
        return found

    def excludes(self, path: str) -> bool:
        return self.excluding(path) is not None


def load_dockerignore(context: Path) -> Dockerignore | None:
    """Read a context's `Dockerfile.dockerignore`, else its `.dockerignore`, else return None.

    Links are not followed. Raises DockerignoreError.
    """
    for name in _NAMES:
        data = read_ignore_file(context, name)
        if data is not None:
            return Dockerignore(data.decode(errors="replace"))
    return None


def leaves_out(context: Path, path: str) -> bool:
    """Whether the context contains a path that its ignore file excludes.

    Links are not followed, so that nobody can find out which files the host has.
    """
    try:
        rules = load_dockerignore(context)
    except DockerignoreError:
        return False
    return rules is not None and rules.excludes(path) and _holds(context, path)


def _holds(context: Path, path: str) -> bool:
    *folders, name = normpath(path).lstrip("/").split("/")
    folder = os.open(context, _FOLDER_FLAGS)
    try:
        for each in folders:
            below = os.open(each, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = below
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (OSError, ValueError):
        return False
    else:
        return name not in {".", ".."} and ".." not in folders
    finally:
        os.close(folder)


def read_ignore_file(context: Path, name: str) -> bytes | None:
    """Read a file in the root of an unpacked context. None if there is no regular file `name`.

    Raises DockerignoreError if it is larger than MOST_BYTES.
    """
    folder = os.open(context, _FOLDER_FLAGS)
    try:
        descriptor = os.open(name, _FILE_FLAGS, dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)
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
    """Normalise as Go's path.Clean does, and remove the first slash."""
    cleaned = normpath(pattern)
    if cleaned.startswith("//"):
        cleaned = cleaned[1:]
    return cleaned[1:].strip() if len(cleaned) > 1 and cleaned.startswith("/") else cleaned


def _compile(pattern: str, line: int) -> PathPattern:
    try:
        return PathPattern(pattern)
    except BadPattern as problem:
        raise DockerignoreError(f"line {line} {problem}") from problem
