"""The owners' layer stores: shared by an owner's builds, tidied when one was killed in it.

Nothing behind the wall waits for the disk, so a store may be spoilt when the machine goes down
before its builds were synced: each build leaves a mark with the machine's boot, taken away after a
sync. A mark of an earlier boot condemns the store, which is cache and nothing else.
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from builds.build_spec import Output
from builds.engines.base import TICK_SECONDS, EngineBroken
from builds.engines.sandbox.folders import Folders
from builds.engines.sandbox.wall import Account
from builds.process import ProcessError, run

BOOT = Path("/proc/sys/kernel/random/boot_id")
SYNC_SECONDS = 300.0
POLL_SECONDS = 0.02
BASES = "bases"
Locks = tuple[int, int]
"""Of an owner's store and of the shared bases, both held by a running build."""


class Stores:
    """Every owner's store below one root."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._marks = folders.root / "unsynced"
        self._locks = folders.root / "locks"
        self._boot = BOOT.read_text().strip()

    def use(
        self, owner_id: UUID, build_id: UUID, account: Account
    ) -> Generator[Output, None, Locks]:
        """Wait until the store and the bases may be used; what is returned goes to `leave`."""
        lock, bases = locks = self._open(owner_id), self._open(BASES)
        try:
            if self._condemned(owner_id):
                yield from _wait(lock, fcntl.LOCK_EX)
                if self._condemned(owner_id):
                    self.drop(owner_id, account)
            yield from _wait(lock, fcntl.LOCK_SH)
            yield from _wait(bases, fcntl.LOCK_SH)
            os.utime(lock)
            folder = self._folders.owner(owner_id)
            self._folders.create(account, [folder, folder / "store", folder / "cache"])
            self._mark(owner_id, build_id).parent.mkdir(parents=True, exist_ok=True)
            self._mark(owner_id, build_id).write_text(self._boot)
        except BaseException:
            self.leave(locks)
            raise
        return locks

    def leave(self, locks: Locks) -> None:
        for lock in locks:
            os.close(lock)

    def owners(self) -> list[UUID]:
        """Who has a store, the one longest unused first."""
        stores = self._folders.stores.glob("*")
        used = {file.name: file.stat().st_mtime for file in self._locks.glob("*")}
        return [
            UUID(name) for name in sorted((f.name for f in stores), key=lambda n: used.get(n, 0.0))
        ]

    @contextmanager
    def alone(self, name: UUID | str) -> Iterator[bool]:
        """Whether no build uses that owner's store, or BASES; none begins to within the block."""
        lock = self._open(name)
        try:
            yield _try(lock, fcntl.LOCK_EX)
        finally:
            os.close(lock)

    def drop(self, owner_id: UUID, account: Account) -> None:
        """Remove an owner's store. Only where one is alone in it."""
        self._folders.remove(account, self._folders.owner(owner_id))
        for mark in (self._marks / str(owner_id)).glob("*"):
            mark.unlink(missing_ok=True)

    def leave_unfinished(self, owner_id: UUID) -> None:
        """Note that a build was killed in this store: its containers are still there."""
        with suppress(FileNotFoundError):
            self._unfinished(owner_id).touch()

    def settle(self, owner_id: UUID, build_id: UUID, remove_containers: Callable[[], None]) -> None:
        """Make what a build wrote last, and tidy up when nobody else builds for that owner."""
        mark = self._mark(owner_id, build_id)
        if mark.exists():
            try:
                run(["sync", "--file-system", self._marks], deadline=SYNC_SECONDS)
            except ProcessError as error:
                raise EngineBroken(f"The store was not synced: {error}", code="store") from error
            mark.unlink(missing_ok=True)
        if self._unfinished(owner_id).exists():
            with self.alone(owner_id) as alone:
                if alone:
                    remove_containers()
                    self._unfinished(owner_id).unlink(missing_ok=True)

    def _condemned(self, owner_id: UUID) -> bool:
        marks = (self._marks / str(owner_id)).glob("*")
        return any(mark.read_text() != self._boot for mark in marks)

    def _mark(self, owner_id: UUID, build_id: UUID) -> Path:
        return self._marks / str(owner_id) / str(build_id)

    def _unfinished(self, owner_id: UUID) -> Path:
        return self._folders.owner(owner_id) / "unfinished"

    def _open(self, name: UUID | str) -> int:
        self._locks.mkdir(parents=True, exist_ok=True)
        return os.open(self._locks / str(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(lock: int, how: int) -> Generator[Output, None, None]:
    ticked = time.monotonic()
    while not _try(lock, how):
        time.sleep(POLL_SECONDS)
        if time.monotonic() - ticked >= TICK_SECONDS:
            ticked = time.monotonic()
            yield "stderr", b""
