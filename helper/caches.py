"""The owners' caches: lists them, reserves them for sandboxes, and removes them.

All are in one folder that only root (or the plain user) can enter: `<owner>.img` for slot 0 and
`<owner>-<slot>.img` for others, or folders without `.img` if images cannot be mounted.
"""

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from helper import syscalls
from helper.boot_marks import BootMark
from helper.id_ranges import IdRanges
from helper.images import Image
from helper.protocol import Refused

NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:-[1-7])?(\.img)?")
BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One cache on disk."""

    name: str
    owner: UUID
    is_image: bool
    bytes: int | None
    """Allocated bytes. None for folders, which are never walked outside of a sandbox."""
    used_at: float
    """In seconds since 1970."""


def cache_name(owner: UUID, slot: int) -> str:
    return f"{owner}-{slot}" if slot else str(owner)


class Caches:
    """The caches of one data directory."""

    def __init__(self, folder: Path, folder_fd: int, ids: IdRanges | None) -> None:
        """`ids` is None without root: then all owners share the user's subordinate ids."""
        self.folder = folder
        self.fd = folder_fd
        self._ids = ids
        self._in_use: set[str] = set()
        self._uses: dict[str, int] = {}

    def acquire(self, name: str) -> None:
        """Reserve a cache for one sandbox. Raises Refused("in-use")."""
        if name in self._in_use:
            raise Refused("in-use", "A builder of this owner and slot runs already.")
        self._in_use.add(name)
        self._uses[name] = self._uses.get(name, 0) + 1

    def use(self, name: str) -> int:
        """A number that changes with every use of the cache."""
        return self._uses.get(name, 0)

    def release(self, name: str) -> None:
        """End the reservation, and record the time of use in the modification time."""
        self._in_use.discard(name)
        for entry in (name, f"{name}.img"):
            with suppress(FileNotFoundError):
                os.utime(entry, dir_fd=self.fd, follow_symlinks=False)

    def is_used(self, name: str) -> bool:
        return name in self._in_use

    def first_id(self, owner: UUID) -> int:
        """The first id of the owner's range, assigned if needed. Without root, this user's id."""
        return self._ids.assign(owner) if self._ids is not None else os.geteuid()

    def make_folder(self, name: str, first_id: int) -> bool:
        """Create a cache folder. Returns False if it exists already."""
        try:
            os.mkdir(name, 0o700, dir_fd=self.fd)
        except FileExistsError:
            return False
        if self._ids is not None:
            os.chown(name, first_id, first_id, dir_fd=self.fd, follow_symlinks=False)
        return True

    def write_out(self, name: str) -> None:
        """Write a cache to disk. May take long."""
        image = Image(self.fd, name)
        if image.exists():
            image.write_out()
            return
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=self.fd)
        syscalls.sync_file_system(fd)
        os.close(fd)

    def remove_empty(self, name: str) -> None:
        """Remove a folder that a sandbox has emptied. Raises OSError if it is not empty."""
        os.rmdir(name, dir_fd=self.fd)
        BootMark(self.fd, name).clear()

    def forget(self, owner: UUID) -> None:
        """Release the owner's id range if the owner has no cache left."""
        if self._ids is not None and not self.of(owner):
            self._ids.release(owner)

    def of(self, owner: UUID) -> list[Cache]:
        return [cache for cache in self.all() if cache.owner == owner]

    def all(self) -> list[Cache]:
        found = []
        for entry in os.listdir(self.fd):
            match = NAME.fullmatch(entry)
            if match is None:
                continue
            with suppress(FileNotFoundError):
                about = os.stat(entry, dir_fd=self.fd, follow_symlinks=False)
                is_image = match[2] is not None
                if is_image != stat.S_ISREG(about.st_mode):
                    continue
                found.append(
                    Cache(
                        name=entry.removesuffix(".img"),
                        owner=UUID(match[1]),
                        is_image=is_image,
                        bytes=about.st_blocks * BLOCK if is_image else None,
                        used_at=about.st_mtime,
                    )
                )
        return found

    def clean(self) -> None:
        """At start: remove unfinished images, and images of owners without a known id range."""
        for entry in os.listdir(self.fd):
            if entry.endswith(".new"):
                os.unlink(entry, dir_fd=self.fd)
        for cache in self.all():
            if self._ids is None or cache.owner in self._ids.owners():
                continue
            if cache.is_image:
                Image(self.fd, cache.name).remove()
            else:
                about = os.stat(cache.name, dir_fd=self.fd, follow_symlinks=False)
                self._ids.adopt(cache.owner, about.st_uid)
