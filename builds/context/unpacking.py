"""Writes a checked archive below one folder, and nowhere else whatever happens around it.

Folders are entered one component at a time through descriptors that refuse links, and files are
made, never opened: a name swapped for a link under our feet ends the unpacking, not the wall.
"""

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from builds.context.archive import (
    CHUNK_BYTES,
    ContextLimits,
    ContextRefused,
    GuardedFile,
    archive_errors,
    member_too_large,
    too_large,
)
from builds.context.links import check_links, read_target
from builds.context.members import Member, Parts, read_members

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE = 0o755
LIMITS = ContextLimits()
_EARLIEST = datetime(1980, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSummary:
    """What was unpacked."""

    files: int
    folders: int
    links: int
    bytes: int
    """Of the files' content."""


def unpack(
    archive: Path | IO[bytes],
    into: Path,
    *,
    tick: Callable[[], None],
    limits: ContextLimits = LIMITS,
) -> ContextSummary:
    """Unpacks a zip into an existing empty folder.

    Raises ContextRefused with one sentence for the sender; what was written so far stays for the
    caller to remove with the folder. `tick` is called for each member and each 64 KiB, so it must
    be cheap; what it raises (a cancel, a deadline) passes through. Memory grows with the number of
    members, which is limited, and not with sizes.

    Files are 0644 or 0755 as their executable bits say, folders 0755, times the archive's own, so
    that the same archive gives the same context and layers stay cached. A member named
    `Dockerfile` is an ordinary file: the Dockerfile to build never comes from here.
    """
    with ExitStack() as stack:
        file = stack.enter_context(archive.open("rb")) if isinstance(archive, Path) else archive
        archived_bytes = file.seek(0, os.SEEK_END)
        guarded = GuardedFile(file, limits)
        with archive_errors("the build context"):
            opened = stack.enter_context(zipfile.ZipFile(guarded))
        members = read_members(opened, guarded, limits=limits, tick=tick)
        root = stack.enter_context(_descriptor(into))
        if os.listdir(root):  # noqa: PTH208 - pathlib knows no descriptors
            raise ValueError(f"{into} is not empty")
        most = max(limits.ratio_floor_bytes, archived_bytes * limits.ratio)
        writer = _Writer(opened, root, limits=limits, most_bytes=most, tick=tick)
        stack.callback(writer.close)
        return writer.write(members)


@contextmanager
def _descriptor(path: Path | str, *, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER_FLAGS, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Writer:
    def __init__(
        self,
        archive: zipfile.ZipFile,
        root: int,
        *,
        limits: ContextLimits,
        most_bytes: int,
        tick: Callable[[], None],
    ) -> None:
        self._archive = archive
        self._root = root
        self._limits = limits
        self._most_bytes = most_bytes
        self._tick = tick
        self._written = 0
        self._folder_times: dict[Parts, float] = {}
        # Members come folder by folder, so the last folder is nearly always the next one too.
        self._open_parts: Parts = ()
        self._open_folder = os.dup(root)

    def close(self) -> None:
        os.close(self._open_folder)

    def write(self, members: list[Member]) -> ContextSummary:
        links = {
            member.parts: read_target(member.parts, b"".join(self._content(member)))
            for member in members
            if member.kind == "link"
        }
        for link in links:
            self._tick()
            check_links(links, link=link)
        for member in members:
            self._tick()
            if member.kind == "folder":
                self._folder(member.parts)
                self._folder_times[member.parts] = _time(member)
            elif member.kind == "file":
                self._file(member)
        # Links come last: nothing is ever written through one.
        for link, target in links.items():
            self._tick()
            os.symlink(target, link[-1], dir_fd=self._folder(link[:-1]))
        self._settle_folder_times()
        return ContextSummary(
            files=sum(member.kind == "file" for member in members),
            folders=len(self._folder_times),
            links=len(links),
            bytes=self._written,
        )

    def _file(self, member: Member) -> None:
        folder = self._folder(member.parts[:-1])
        descriptor = os.open(member.parts[-1], _FILE_FLAGS, 0o600, dir_fd=folder)
        with os.fdopen(descriptor, "wb") as file:
            for piece in self._content(member):
                self._written += len(piece)
                if self._written > self._limits.total_bytes:
                    raise too_large(self._limits)
                if self._written > self._most_bytes:
                    raise ContextRefused(
                        f"{member.shown} makes the build context unpack to more than "
                        f"{self._limits.ratio} times its size: leave out such files, "
                        "or make them in a RUN step"
                    )
                file.write(piece)
                self._tick()
            file.flush()  # or closing would set the time anew
            os.fchmod(descriptor, 0o755 if member.executable else 0o644)
            os.utime(descriptor, times=(_time(member),) * 2)

    def _content(self, member: Member) -> Iterator[bytes]:
        """The member's bytes as they really are; the size that the archive declares is a claim."""
        size = 0
        with archive_errors(member.shown), self._archive.open(member.info) as source:
            while piece := source.read(CHUNK_BYTES):
                size += len(piece)
                if size > self._limits.member_bytes:
                    raise member_too_large(member.shown, self._limits)
                yield piece
            if size != member.info.file_size:
                raise zipfile.BadZipFile("its size is not the one declared")

    def _folder(self, parts: Parts) -> int:
        """A descriptor of the folder, made where missing. Valid until the next call."""
        if parts != self._open_parts:
            descriptor = os.dup(self._root)
            try:
                for depth, part in enumerate(parts, start=1):
                    below = self._enter(descriptor, part, parts[:depth])
                    os.close(descriptor)
                    descriptor = below
            except BaseException:
                os.close(descriptor)
                raise
            os.close(self._open_folder)
            self._open_parts, self._open_folder = parts, descriptor
        return self._open_folder

    def _enter(self, folder: int, name: str, parts: Parts) -> int:
        made = parts not in self._folder_times
        if made:
            os.mkdir(name, _FOLDER_MODE, dir_fd=folder)
            self._folder_times[parts] = _EARLIEST
        descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
        if made:
            os.fchmod(descriptor, _FOLDER_MODE)  # whatever the umask is
        return descriptor

    def _settle_folder_times(self) -> None:
        """Last of all, as each new entry touches its folder."""
        for parts, time in self._folder_times.items():
            self._tick()
            os.utime(self._folder(parts), times=(time, time))


def _time(member: Member) -> float:
    """Zip times have no zone and may be no date at all; read as UTC they are at least stable."""
    try:
        return datetime(*member.info.date_time, tzinfo=UTC).timestamp()
    except ValueError:
        return _EARLIEST
