"""Ranges of 65,536 kernel ids, one per owner, so that owners do not share per-user kernel limits.

A range is assigned for as long as the owner has a cache. Ranges start above all ids that systemd,
adduser and useradd assign. Ids in the account files, in /etc/subuid and /etc/subgid, and those
used by processes of other installations are skipped.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from helper.protocol import Refused

SIZE = 1 << 16
FIRST = 0x7000_0000
COUNT = 4096
FILE = "ids.json"


class IdRanges:
    """Assigns ranges to owners. Stored in a folder that only root can write."""

    def __init__(
        self,
        folder_fd: int,
        taken: Iterable[range],
        *,
        installation: str,
        in_use: Callable[[], Iterable[range]],
    ) -> None:
        """`taken`: ranges with other uses. `in_use` returns the ranges of running processes."""
        self._folder_fd = folder_fd
        self._installation = installation
        self._in_use = in_use
        self._taken = [r for r in taken if r.stop > FIRST]
        self._indexes = self._load()

    def owners(self) -> set[UUID]:
        return set(self._indexes)

    def assign(self, owner: UUID) -> int:
        """The first id of the owner's range. Raises Refused if all ranges are in use."""
        if owner not in self._indexes:
            used = set(self._indexes.values())
            taken = [*self._taken, *self._in_use()]
            # Installations on one host start at different indexes, also for the same owner.
            digest = hashlib.sha256(f"{self._installation}/{owner}".encode()).digest()
            start = int.from_bytes(digest) % COUNT
            wanted = (index % COUNT for index in range(start, start + COUNT))
            index = next((i for i in wanted if i not in used and _is_free(i, taken)), None)
            if index is None:
                raise Refused("no-ids", "Every id range is in use; drop caches of other owners.")
            self._indexes[owner] = index
            self._save()
        return FIRST + self._indexes[owner] * SIZE

    def adopt(self, owner: UUID, first_id: int) -> None:
        """Assign the range that already owns the owner's cache folder."""
        index, rest = divmod(first_id - FIRST, SIZE)
        if rest == 0 and 0 <= index < COUNT and owner not in self._indexes:
            self._indexes[owner] = index
            self._save()

    def release(self, owner: UUID) -> None:
        """Release the range. Only for owners without a cache."""
        if self._indexes.pop(owner, None) is not None:
            self._save()

    def _load(self) -> dict[UUID, int]:
        try:
            fd = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_fd)
        except FileNotFoundError:
            return {}
        with os.fdopen(fd) as file:
            try:
                loaded = {UUID(owner): int(index) for owner, index in json.load(file).items()}
            except (ValueError, AttributeError, TypeError):
                return {}  # `Caches.clean` handles caches without a range at start
        return {owner: index for owner, index in loaded.items() if 0 <= index < COUNT}

    def _save(self) -> None:
        text = json.dumps({str(owner): index for owner, index in self._indexes.items()})
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(f"{FILE}.new", flags, 0o600, dir_fd=self._folder_fd)
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(f"{FILE}.new", FILE, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)


def _is_free(index: int, taken: Iterable[range]) -> bool:
    start = FIRST + index * SIZE
    return all(r.stop <= start or r.start >= start + SIZE for r in taken)


def mapped_ranges(proc: Path = Path("/proc")) -> list[range]:
    """Ranges from FIRST on that are mapped by user namespaces of running processes."""
    maps: set[str] = set()
    for folder in os.scandir(proc):
        if folder.name.isdigit():
            with suppress(OSError), open(f"{folder.path}/uid_map", encoding="ascii") as file:
                maps.update(line for line in file if int(line.split()[1]) >= FIRST)
    numbers = [list(map(int, line.split())) for line in maps]
    return [range(first, first + count) for _, first, count in numbers]


def taken_ranges(etc: Path = Path("/etc")) -> list[range]:
    """Ids of accounts, groups and subordinate ranges of this host."""
    found = []
    for name in ("subuid", "subgid"):
        found += [range(first, first + count) for _, first, count in _subordinate(etc / name)]
    for name in ("passwd", "group"):
        ids = [row[2] for row in _rows(etc / name) if len(row) > 2 and row[2].isdigit()]  # noqa: PLR2004
        found += [range(int(text), int(text) + 1) for text in ids]
    return found


def subordinate_range(name: str, user: str, uid: int, etc: Path = Path("/etc")) -> int | None:
    """First subordinate id of a user in the file `name` (subuid or subgid) with 65,535 or more.

    None if there is no such range.
    """
    for owner, first, count in _subordinate(etc / name):
        if owner in {user, str(uid)} and count >= SIZE - 1:
            return first
    return None


def _subordinate(file: Path) -> list[tuple[str, int, int]]:
    rows = [row for row in _rows(file) if len(row) == 3]  # noqa: PLR2004
    return [(row[0], int(row[1]), int(row[2])) for row in rows if (row[1] + row[2]).isdigit()]


def _rows(file: Path) -> list[list[str]]:
    try:
        return [line.split(":") for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return []
