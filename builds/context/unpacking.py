"""Unpacks a validated archive into one folder, and never writes outside of it.

Folders are opened one component at a time, without following links. Files are always created, never
opened for writing, and links are created last. If another process replaces a folder by a link, the
unpacking fails.
"""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from builds.context.decompression import read_gzip, read_plain, read_zstd
from builds.context.formats import detect
from builds.context.limits import CHUNK_BYTES, ContextLimits, expands_too_much, too_large
from builds.context.members import Entry, Member, Parts
from builds.context.tar_reader import read_tar
from builds.context.zip_reader import read_zip

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER_MODE = 0o755
_PERMISSIONS = 0o777
"""The bits of a file's mode that are kept. Set-user-id and set-group-id are not: there must be no
programs with the service user's rights, and BuildKit without root drops these bits of files anyway.
The modes of folders are kept completely, as in BuildKit."""
# Always set, so that the service user can read and remove the context.
_FILE_MINIMUM, _FOLDER_MINIMUM = 0o400, 0o700
LIMITS = ContextLimits()
_EARLIEST_NS = 315_532_800 * 10**9
"""1980, the first year of zip's timestamps: for folders without a member of their own."""
_READERS = {"tar": read_plain, "tar.gz": read_gzip, "tar.zst": read_zstd}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSummary:
    """Counts of what was unpacked."""

    files: int
    folders: int
    links: int
    bytes: int
    """Total size of the files."""


def unpack(
    archive: Path | IO[bytes],
    into: Path,
    *,
    tick: Callable[[], None],
    limits: ContextLimits = LIMITS,
) -> ContextSummary:
    """Unpack a zip, tar, tar.gz or tar.zst into an existing empty folder.

    Raises ContextRefused with one sentence for the sender; the caller then removes the folder with
    its partial content. Raises ValueError if the folder is not empty. `tick` is called for each
    member and each 64 KiB, so it must be fast; its exceptions (a cancel, a deadline) are passed on.
    Memory grows with the number of members, which is limited, and not with their sizes; a zstd
    window adds at most 128 MiB.

    Modes and times are those of the archive, so that the same archive gives the same context and
    layers stay cached. Files are always readable and folders always writable for their owner.
    Symbolic links are kept wherever they point, as in `docker build`: code that reads the context
    must not follow them, except in a sandbox. Hard links become separate files.
    """
    with ExitStack() as stack:
        file = stack.enter_context(archive.open("rb")) if isinstance(archive, Path) else archive
        archived_bytes = file.seek(0, os.SEEK_END)
        root = stack.enter_context(_descriptor(into))
        if os.listdir(root):  # noqa: PTH208 - pathlib knows no descriptors
            raise ValueError(f"{into} is not empty")
        writer = _Writer(root, limits=limits, archived_bytes=archived_bytes, tick=tick)
        stack.callback(writer.close)
        entries = _entries(file, archived_bytes, limits, tick)
        stack.enter_context(closing(entries))
        return writer.write(entries)


def _entries(
    file: IO[bytes], archived_bytes: int, limits: ContextLimits, tick: Callable[[], None]
) -> Generator[Entry, None, None]:
    found = detect(file)
    if found == "zip":
        yield from read_zip(file, limits=limits, tick=tick)
    else:
        pieces = _READERS[found](file, tick)
        yield from read_tar(pieces, archived_bytes=archived_bytes, limits=limits, tick=tick)


@contextmanager
def _descriptor(path: Path | str, *, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER_FLAGS, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Folder:
    """A folder that was created, and the mode and time that are set at the end."""

    mode: int = _FOLDER_MODE
    mtime_ns: int = _EARLIEST_NS
    below: dict[str, "_Folder"] = field(default_factory=dict)


class _Writer:
    def __init__(
        self, root: int, *, limits: ContextLimits, archived_bytes: int, tick: Callable[[], None]
    ) -> None:
        self._root = root
        self._limits = limits
        self._most_bytes = limits.most_bytes(archived_bytes)
        self._tick = tick
        self._written = 0
        self._files = 0
        self._top = _Folder()
        self._folders = 0
        self._links: list[Member] = []
        # Archives list members folder by folder, so the next member is mostly in the same folder.
        self._open_parts: Parts = ()
        self._open_folder = os.dup(root)

    def close(self) -> None:
        os.close(self._open_folder)

    def write(self, entries: Iterator[Entry]) -> ContextSummary:
        for member, content in entries:
            self._tick()
            match member.kind:
                case "folder":
                    self._describe(member)
                case "file":
                    self._file(member, content)
                case "hard link":
                    self._copy(member)
                case "link":
                    self._links.append(member)
        # Links are created last, so that nothing is written through one.
        for link in self._links:
            self._tick()
            folder = self._folder(link.parts[:-1])
            os.symlink(link.target, link.parts[-1], dir_fd=folder)
            os.utime(link.parts[-1], ns=(link.mtime_ns,) * 2, dir_fd=folder, follow_symlinks=False)
        self._settle(self._top, self._root)
        return ContextSummary(
            files=self._files,
            folders=self._folders,
            links=len(self._links),
            bytes=self._written,
        )

    def _file(self, member: Member, content: Iterator[bytes]) -> None:
        folder = self._folder(member.parts[:-1])
        descriptor = os.open(member.parts[-1], _FILE_FLAGS, 0o600, dir_fd=folder)
        with os.fdopen(descriptor, "wb") as file:
            for piece in content:
                self._written += len(piece)
                if self._written > self._limits.total_bytes:
                    raise too_large(self._limits)
                if self._written > self._most_bytes:
                    raise expands_too_much(member.shown, self._limits)
                file.write(piece)
                self._tick()
            file.flush()  # otherwise closing the file would change its time again
            os.fchmod(descriptor, member.mode & _PERMISSIONS | _FILE_MINIMUM)
            os.utime(descriptor, ns=(member.mtime_ns,) * 2)
        self._files += 1

    def _copy(self, member: Member) -> None:
        """Write a hard link as a separate copy, whose bytes count against the limits."""
        folder = self._folder(member.source[:-1])
        descriptor = os.open(member.source[-1], _SOURCE_FLAGS, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            self._file(member, iter(lambda: file.read(CHUNK_BYTES), b""))

    def _folder(self, parts: Parts) -> int:
        """A descriptor of the folder, which is created if missing. Valid until the next call."""
        if parts != self._open_parts:
            descriptor = os.dup(self._root)
            made = self._top
            try:
                for part in parts:
                    if part not in made.below:
                        os.mkdir(part, _FOLDER_MODE, dir_fd=descriptor)
                        made.below[part] = _Folder()
                        self._folders += 1
                    made = made.below[part]
                    entered = os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
                    os.close(descriptor)
                    descriptor = entered
            except BaseException:
                os.close(descriptor)
                raise
            os.close(self._open_folder)
            self._open_parts, self._open_folder = parts, descriptor
        return self._open_folder

    def _describe(self, member: Member) -> None:
        self._folder(member.parts)
        folder = self._top
        for part in member.parts:
            folder = folder.below[part]
        folder.mode, folder.mtime_ns = member.mode, member.mtime_ns

    def _settle(self, folder: _Folder, descriptor: int) -> None:
        """Set the modes and times of folders, regardless of the umask.

        Called last, because each new entry changes its folder's time. Opens one descriptor for
        each level, of which there are at most DEPTH.
        """
        for name, below in folder.below.items():
            self._tick()
            with _descriptor(name, within=descriptor) as entered:
                self._settle(below, entered)
                os.fchmod(entered, below.mode | _FOLDER_MINIMUM)
                os.utime(entered, ns=(below.mtime_ns,) * 2)
