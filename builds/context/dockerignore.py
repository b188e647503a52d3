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

OF_DOCKERFILE = "Dockerfile.dockerignore"
"""Read instead of `.dockerignore` where there is one."""
_NAMES = (OF_DOCKERFILE, ".dockerignore")
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
    for name in _NAMES:
        data = read_ignore_file(context, name)
        if data is not None:
            return Dockerignore(data.decode(errors="replace"))
    return None


def leaves_out(context: Path, path: str) -> bool:
    """Whether the context holds a path that its ignore file keeps from the build.

    Links are not followed, so that nobody learns what the host holds.
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
    """A file at the root of an unpacked context; None where there is no plain file of that name.

    Raises DockerignoreError where it is larger than MOST_BYTES.
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
