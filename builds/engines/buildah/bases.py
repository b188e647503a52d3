"""Fetches base images into stores that builds only read: beside the wall, as the build user.

One store is for everybody. What comes from Slipway's own registry may be private, so each owner has
a store for it, filled with the owner's own rights.
"""

import hashlib
import re
import shutil
import threading
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

from builds.build_spec import Output
from builds.engines.base import TICK_SECONDS, BuildFailed, EngineBroken
from builds.engines.sandbox.folders import Folders
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.sandbox.wall import Account, Wall
from builds.process import Child, start

TAIL_BYTES = 4_096
PORT = re.compile(r":\d+$")
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """One store of bases, and the credentials that fill it."""

    store: Path
    records: Path
    auth_file: Path | None

    def record(self, reference: str) -> Path:
        """When that base was fetched, or which digest of it."""
        return self.records / hashlib.sha256(reference.encode()).hexdigest()


class Bases:
    """The store that all owners share, and those of single owners."""

    def __init__(self, settings: EngineSettings, wall: Wall, folders: Folders) -> None:
        self._settings = settings
        self._wall = wall
        self._folders = folders
        self._locks: dict[str, threading.Lock] = {}
        configured = settings.private_registries | settings.insecure_registries
        self._trusted = configured | {name.partition("/")[0] for name, _ in settings.mirrors}
        self._shared = Shelf(folders.bases, folders.checked(), settings.auth_file)

    def fetch(self, references: Iterable[str]) -> Generator[Output, None, None]:
        """Make sure that every base is there and fresh enough, telling what is done for it.

        Raises BuildFailed (`base`) for one that neither its registry nor the store has.
        """
        yield from self._locked("", self._prepare(self._shared))
        for reference in references:
            yield from self._locked(reference, self._refresh(reference))

    def fetch_own(
        self, owner_id: UUID, bases: Iterable[tuple[str, str]], auth_file: Path | None
    ) -> Generator[Output, None, None]:
        """The same for bases that the owner was found to be allowed, with the digest each has."""
        shelf = self._owned(owner_id, auth_file)
        yield from self._locked(str(owner_id), self._prepare(shelf))
        for reference, digest in bases:
            yield from self._locked(
                f"{owner_id} {reference}", self._update(shelf, reference, digest)
            )

    def doubt(self, owner_id: UUID, references: Iterable[str]) -> None:
        """Forget when these were fetched: a build did not find one."""
        for reference in references:
            for shelf in (self._shared, self._owned(owner_id)):
                shelf.record(reference).unlink(missing_ok=True)

    def drop(self, account: Account, owner_id: UUID | None = None) -> None:
        """Remove the store of an owner, or the shared one, while no build reads it."""
        shelf = self._owned(owner_id) if owner_id else self._shared
        shutil.rmtree(shelf.records, ignore_errors=True)
        self._folders.remove(account, shelf.store)

    def _owned(self, owner_id: UUID, auth_file: Path | None = None) -> Shelf:
        folders = self._folders
        return Shelf(folders.owned_bases(owner_id), folders.checked(owner_id), auth_file)

    def _locked(
        self, name: str, work: Generator[Output, None, None]
    ) -> Generator[Output, None, None]:
        lock = self._locks.setdefault(name, threading.Lock())
        while not lock.acquire(timeout=TICK_SECONDS):
            yield "stderr", b""
        try:
            yield from work
        finally:
            lock.release()

    def _refresh(self, reference: str) -> Generator[Output, None, None]:
        record = self._shared.record(reference)
        age = time.time() - record.stat().st_mtime if record.exists() else -1
        if 0 <= age < self._settings.base_refresh_seconds:
            return
        yield from self._refuse_inside(reference)
        problem = yield from self._pull(self._shared, reference)
        if problem is None:
            record.touch()
        elif record.exists():
            yield "stderr", f"Using the copy of {reference} that was pulled earlier.\n".encode()
        else:
            raise _not_pulled(reference, problem)

    def _update(self, shelf: Shelf, reference: str, digest: str) -> Generator[Output, None, None]:
        record = shelf.record(reference)
        if record.exists() and record.read_text() == digest:
            return
        problem = yield from self._pull(shelf, reference)
        if problem is not None:
            raise _not_pulled(reference, problem)
        record.write_text(digest)

    def _pull(self, shelf: Shelf, reference: str) -> Generator[Output, None, str | None]:
        """Returns what went wrong."""
        policy = self._wall.places({"etc": self._folders.etc / "beside"})["etc"] / "policy.json"
        said = b""
        until = time.monotonic() + self._settings.base_timeout_seconds
        with self._buildah(
            shelf, "pull", "--policy=always", "--retry=1", f"--signature-policy={policy}", reference
        ) as child:
            for stream, data in child.read(TICK_SECONDS):
                if stream == "stderr" or not data:
                    said = (said + data)[-TAIL_BYTES:]
                    yield "stderr", data
                if time.monotonic() > until:
                    said += b"\nit took too long"
                    break
            else:
                if child.exit_code == 0:
                    return None
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("Error: ") if lines else f"exit code {child.exit_code}"

    def _refuse_inside(self, reference: str) -> Generator[Output, None, None]:
        # Pulls happen on our network, where a name may stand for a service meant for us alone.
        host = reference.partition("/")[0]
        if host in self._trusted:
            return
        name = PORT.sub("", host).strip("[]")
        said = b""
        with start(["getent", "ahosts", "--", name]) as child:
            for stream, data in child.read(TICK_SECONDS):
                said += data
                yield stream, b""
        found = {line.split()[0] for line in said.decode(errors="replace").splitlines()}
        # A name without an address is left to the pull, which says best what is wrong.
        if not all(ip_address(address.partition("%")[0]).is_global for address in found):
            raise BuildFailed(
                f"The base image {reference} is on a private network, which is not allowed here.",
                code="base",
            )

    def _buildah(self, shelf: Shelf, *command: str) -> Child:
        folders = {
            "bases": shelf.store,
            "pull": self._folders.root / "pull",
            "etc": self._folders.etc / "beside",
        }
        place = self._wall.places(folders)
        store = [f"--root={place['bases']}", f"--runroot={place['pull']}/run"]
        secret = shelf.auth_file
        env = {
            "HOME": str(place["pull"]),
            "TMPDIR": str(place["pull"] / "tmp"),
            "XDG_RUNTIME_DIR": str(place["pull"] / "run"),
            "CONTAINERS_REGISTRIES_CONF": str(place["etc"] / "registries.conf"),
        }
        if secret is not None:
            env["REGISTRY_AUTH_FILE"] = str(self._wall.secret_place(secret))
        return self._wall.beside(
            ["buildah", *store, "--storage-driver=overlay", *command],
            folders,
            env=env,
            secret=secret,
        )

    def _prepare(self, shelf: Shelf) -> Generator[Output, None, None]:
        """An empty store is no store to builds, which may only read it."""
        if (shelf.store / "overlay-images/images.lock").exists():
            return
        pull = self._folders.root / "pull"
        self._folders.create(self._wall.account, [shelf.store, pull, pull / "run", pull / "tmp"])
        shelf.records.mkdir(parents=True, exist_ok=True)
        said = b""
        with self._buildah(shelf, "images") as child:
            for _, data in child.read(TICK_SECONDS):
                said = (said + data)[-TAIL_BYTES:]
                yield "stderr", b""
        if child.exit_code != 0:
            reason = said.decode(errors="replace").strip()
            raise EngineBroken(f"buildah cannot make a store: {reason}", code="store")


def _not_pulled(reference: str, problem: str) -> BuildFailed:
    return BuildFailed(
        f"The base image {reference} could not be pulled: {problem[:500]}", code="base"
    )
