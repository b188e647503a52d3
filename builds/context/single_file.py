"""Reads one file of an unpacked context, such as a Dockerfile. Links are not followed."""

import os
import stat
from contextlib import ExitStack
from pathlib import Path

from builds.context.limits import CONTROL, ContextRefused, shown
from builds.context.members import DEPTH, PATH_BYTES, Parts

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def path_parts(path: str) -> Parts:
    """Split a path within a context into its components. Raises ContextRefused."""
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    bad = path.startswith("/") or CONTROL.search(path) or ".." in parts or len(parts) > DEPTH
    if not parts or bad or len(path.encode(errors="replace")) > PATH_BYTES:
        raise ContextRefused(
            f"{shown(path)} is no path within the build context, such as docker/Dockerfile"
        )
    return parts


def read_text(context: Path, path: str, *, most_bytes: int) -> str:
    """Read a regular file of at most `most_bytes` as UTF-8. Raises ContextRefused."""
    *folders, name = path_parts(path)
    with ExitStack() as stack:
        try:
            folder = os.open(context, _FOLDER_FLAGS)
            stack.callback(os.close, folder)
            for part in folders:
                folder = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
                stack.callback(os.close, folder)
            file = stack.enter_context(os.fdopen(os.open(name, _FILE_FLAGS, dir_fd=folder), "rb"))
        except OSError as problem:
            raise _missing(path) from problem
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _missing(path)
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ContextRefused(f"{shown(path)} is larger than {most_bytes:,} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as problem:
        raise ContextRefused(f"{shown(path)} is not UTF-8") from problem
    if "\0" in text:
        raise ContextRefused(f"{shown(path)} has a null character in it")
    return text


def _missing(path: str) -> ContextRefused:
    return ContextRefused(
        f"there is no plain file {shown(path)} in the build context: links are not followed"
    )
