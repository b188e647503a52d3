"""Builders: sandboxes with a BuildKit daemon and an owner's cache, kept warm between builds.

A builder belongs to one owner and serves one build at a time. An owner with parallel builds has
several builders, each with its own cache, its slot.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from uuid import UUID, uuid4

from builds.build_spec import Limits
from builds.engines.base import EngineBroken
from builds.engines.buildkit.outputs import Output
from builds.engines.sandbox.helper import Builder as Sandbox
from builds.engines.sandbox.helper import Helper, HelperError
from builds.engines.sandbox.networks import denied
from builds.engines.sandbox.settings import EngineSettings
from builds.process import start_time

MOST_PER_OWNER = 8
LOG_BYTES = 2_000
UNUSED_SECONDS = 14 * 86_400.0


@dataclass(eq=False, slots=True, kw_only=True)
class Builder:
    """A running sandbox. `folder` has its socket and dockerd's log; the sandbox does not see it."""

    owner_id: UUID
    slot: int
    network: bool
    cache_bytes: int
    folder: Path
    sandbox: Sandbox
    output: Output
    idle_since: float = 0.0

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def ended(self) -> bool:
        """Whether the sandbox has ended by itself, or because the helper ended."""
        try:
            return self.sandbox.has_ended()
        except HelperError:
            return True

    @property
    def log_tail(self) -> str:
        """The end of the daemon's log, for operators."""
        with suppress(OSError), (self.folder / "dockerd.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
            return file.read().decode(errors="replace")
        return ""

    def end(self) -> None:
        """Kill all its processes and wait until its mounts and control group are removed."""
        try:
            self.sandbox.close()
        finally:
            rmtree(self.folder, ignore_errors=True)


@dataclass(slots=True)
class Lease:
    """The use of a builder by one build."""

    builder: Builder
    keep: bool = False
    """Whether the builder may serve another build. Set when the build has ended cleanly."""
    drop_cache: bool = False
    """Whether to drop the cache together with the builder."""


@dataclass(slots=True)
class _Owner:
    busy: set[int] = field(default_factory=set)
    outputs: dict[int, Output] = field(default_factory=dict)


class Builders:
    """All builders of this process."""

    def __init__(self, settings: EngineSettings, helper: Helper) -> None:
        self._settings = settings
        self._helper = helper
        self._root = settings.root / "builders"
        self._folder = self._root / f"{os.getpid()}.{start_time(os.getpid())}"
        self._outputs = settings.root / "outputs"
        self._lock = threading.Lock()
        self._idle: list[Builder] = []
        self._owners: dict[UUID, _Owner] = {}

    @contextmanager
    def use(self, owner_id: UUID, *, network: bool, limits: Limits) -> Iterator[Lease]:
        """Lease a builder for one build. Afterwards it is kept warm if `Lease.keep` is set.

        Raises EngineBroken, or HelperError ("unreachable").
        """
        lease = Lease(self._take(owner_id, network=network, limits=limits))
        try:
            yield lease
        finally:
            self._give_back(lease)

    def expire(self) -> None:
        """End builders that were idle for `warm_seconds`, and the oldest if there are too many."""
        now = time.monotonic()
        with self._lock:
            self._idle.sort(key=lambda each: each.idle_since)
            over = len(self._idle) - 2 * self._settings.slots
            due = [
                each
                for at, each in enumerate(self._idle)
                if at < over or now - each.idle_since > self._settings.warm_seconds or each.ended
            ]
            self._idle = [each for each in self._idle if each not in due]
        for each in due:
            each.end()

    def close(self) -> None:
        """End all idle builders."""
        with self._lock:
            due, self._idle = self._idle, []
        for each in due:
            each.end()

    def sweep(self) -> None:
        """Remove the folders of dead processes, and output blobs unused for UNUSED_SECONDS."""
        for folder in self._root.glob("*.*"):
            pid, _, started = folder.name.partition(".")
            if not (pid.isdigit() and str(start_time(int(pid))) == started):
                rmtree(folder, ignore_errors=True)
        for folder in self._outputs.glob("*"):
            Output(folder).drop_unused(time.time() - UNUSED_SECONDS)

    def owners_by_age(self) -> list[UUID]:
        """The owners with a cache, the least recently used first."""
        self.expire()
        caches = sorted(self._helper.caches(), key=lambda each: each.used_at)
        return list(dict.fromkeys(each.owner for each in caches))

    def drop_caches(self, owner_id: UUID) -> None:
        """Drop an owner's caches and outputs, except those that a build is using."""
        with self._lock:
            due = [each for each in self._idle if each.owner_id == owner_id]
            self._idle = [each for each in self._idle if each not in due]
        for each in due:
            each.end()
        self._drop_unused(owner_id)

    def _take(self, owner_id: UUID, *, network: bool, limits: Limits) -> Builder:
        for builder in self._claim_idle(owner_id):
            fits = builder.network == network and builder.cache_bytes == self._cache_bytes(limits)
            if fits and not builder.ended:
                try:
                    builder.sandbox.set_limits(limits)
                except HelperError:
                    pass
                else:
                    return builder
            self._give_back(Lease(builder))
        return self._start(owner_id, network=network, limits=limits)

    def _claim_idle(self, owner_id: UUID) -> Iterator[Builder]:
        while True:
            with self._lock:
                builder = next((each for each in self._idle if each.owner_id == owner_id), None)
                if builder is None:
                    return
                self._idle.remove(builder)
                self._owner(owner_id).busy.add(builder.slot)
            yield builder

    def _start(self, owner_id: UUID, *, network: bool, limits: Limits) -> Builder:
        for slot in range(MOST_PER_OWNER):
            with self._lock:
                busy = self._owner(owner_id).busy
                if slot in busy:
                    continue
                busy.add(slot)
            try:
                return self._start_in(owner_id, slot, network=network, limits=limits)
            except HelperError as problem:
                self._release(owner_id, slot)
                if problem.code == "in-use":  # by another process on this machine
                    continue
                if problem.code == "unreachable":
                    raise
                text = f"The builder could not be started: {problem}"
                raise EngineBroken(text, code="builder") from problem
            except BaseException:
                self._release(owner_id, slot)
                raise
        raise EngineBroken("Too many builds of this owner run on this machine.", code="builder")

    def _start_in(self, owner_id: UUID, slot: int, *, network: bool, limits: Limits) -> Builder:
        folder = self._folder / uuid4().hex
        folder.mkdir(parents=True, mode=0o700)
        try:
            with (folder / "dockerd.log").open("wb") as log, listen(folder) as listener:
                sandbox = self._helper.start_builder(
                    owner_id,
                    slot=slot,
                    network=network,
                    deny=denied(self._settings.deny) if network else [],
                    limits=limits,
                    cache_bytes=self._cache_bytes(limits),
                    listener=listener.fileno(),
                    log=log.fileno(),
                )
        except BaseException:
            rmtree(folder, ignore_errors=True)
            raise
        with self._lock:
            outputs = self._owner(owner_id).outputs
            output = outputs.setdefault(slot, Output(self._output_folder(owner_id, slot)))
        return Builder(
            owner_id=owner_id,
            slot=slot,
            network=network,
            cache_bytes=self._cache_bytes(limits),
            folder=folder,
            sandbox=sandbox,
            output=output,
        )

    def _cache_bytes(self, limits: Limits) -> int:
        return limits.cache_bytes or self._settings.cache_bytes

    def _give_back(self, lease: Lease) -> None:
        builder = lease.builder
        if lease.keep and not lease.drop_cache and not builder.ended:
            with suppress(HelperError):  # it has ended just now, and the next use finds that
                builder.sandbox.trim()
            with self._lock:
                builder.idle_since = time.monotonic()
                self._idle.append(builder)
                self._owner(builder.owner_id).busy.discard(builder.slot)
            self.expire()
            return
        try:
            builder.end()
            if lease.drop_cache:
                self._drop_unused(builder.owner_id)
        finally:
            self._release(builder.owner_id, builder.slot)

    def _drop_unused(self, owner_id: UUID) -> None:
        with suppress(HelperError):  # builders of other processes use all of them
            self._helper.drop(owner_id)
        with self._lock:
            owner = self._owner(owner_id)
            idle = {each.slot for each in self._idle if each.owner_id == owner_id}
            unused = set(range(MOST_PER_OWNER)) - owner.busy - idle
            for slot in unused:
                owner.outputs.pop(slot, None)
        for slot in unused:
            rmtree(self._output_folder(owner_id, slot), ignore_errors=True)

    def _release(self, owner_id: UUID, slot: int) -> None:
        with self._lock:
            self._owner(owner_id).busy.discard(slot)

    def _output_folder(self, owner_id: UUID, slot: int) -> Path:
        return self._outputs / f"{owner_id}.{slot}"

    def _owner(self, owner_id: UUID) -> _Owner:
        return self._owners.setdefault(owner_id, _Owner())


@contextmanager
def listen(folder: Path) -> Iterator[socket.socket]:
    """A listening socket `docker.sock` in a folder, whose path may be longer than sockets allow."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{fd}/docker.sock")
            listener.listen(64)
            yield listener
    finally:
        os.close(fd)
