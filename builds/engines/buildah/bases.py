"""Fetches base images into the store that all builds read: beside the wall, as the build user."""

import hashlib
import re
import threading
import time
from collections.abc import Generator, Iterable
from ipaddress import ip_address
from pathlib import Path

from builds.engines.base import TICK_SECONDS, BuildFailed, EngineBroken
from builds.engines.sandbox.folders import Folders
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.sandbox.wall import Wall
from builds.orders import Output
from builds.process import Child, start

TAIL_BYTES = 4_096
PORT = re.compile(r":\d+$")
READY_SECONDS = 60.0


class Bases:
    """The shared store of base images."""

    def __init__(self, settings: EngineSettings, wall: Wall, folders: Folders) -> None:
        self._settings = settings
        self._wall = wall
        self._folders = folders
        self._locks: dict[str, threading.Lock] = {}
        configured = settings.trusted_registries | settings.insecure_registries
        self._trusted = configured | {name.partition("/")[0] for name, _ in settings.mirrors}

    def fetch(self, references: Iterable[str]) -> Generator[Output, None, None]:
        """Make sure that every base is there and fresh enough, telling what is done for it.

        Raises BuildFailed (`base`) for one that neither its registry nor the store has.
        """
        lock = self._locks.setdefault("", threading.Lock())
        with lock:
            self._prepare()
        for reference in references:
            lock = self._locks.setdefault(reference, threading.Lock())
            while not lock.acquire(timeout=TICK_SECONDS):
                yield "stderr", b""
            try:
                if not self._fresh(reference):
                    yield from self._pull(reference)
            finally:
                lock.release()

    def doubt(self, references: Iterable[str]) -> None:
        """Forget when these were fetched: a build did not find one."""
        for reference in references:
            self._record(reference).unlink(missing_ok=True)

    def _record(self, reference: str) -> Path:
        return self._folders.checked / hashlib.sha256(reference.encode()).hexdigest()

    def _fresh(self, reference: str) -> bool:
        record = self._record(reference)
        return (
            record.exists()
            and 0 <= time.time() - record.stat().st_mtime < self._settings.base_refresh_seconds
        )

    def _pull(self, reference: str) -> Generator[Output, None, None]:
        yield from self._refuse_inside(reference)
        policy = self._wall.places({"etc": self._folders.etc / "beside"})["etc"] / "policy.json"
        said = b""
        until = time.monotonic() + self._settings.base_timeout_seconds
        with self._buildah(
            "pull", "--policy=always", "--retry=1", f"--signature-policy={policy}", reference
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
                    self._record(reference).touch()
                    return
        lines = said.decode(errors="replace").strip().splitlines()
        reason = lines[-1].removeprefix("Error: ") if lines else f"exit code {child.exit_code}"
        if not self._record(reference).exists():
            raise BuildFailed(
                f"The base image {reference} could not be pulled: {reason[:500]}", code="base"
            )
        yield "stderr", f"Using the copy of {reference} that was pulled earlier.\n".encode()

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

    def _buildah(self, *command: str) -> Child:
        folders = {
            "bases": self._folders.bases,
            "pull": self._folders.root / "pull",
            "etc": self._folders.etc / "beside",
        }
        place = self._wall.places(folders)
        store = [f"--root={place['bases']}", f"--runroot={place['pull']}/run"]
        secret = self._settings.auth_file
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

    def _prepare(self) -> None:
        """An empty store is no store to builds, which may only read it."""
        if (self._folders.bases / "overlay-images/images.lock").exists():
            return
        pull = self._folders.root / "pull"
        self._folders.create(
            self._wall.account, [self._folders.bases, pull, pull / "run", pull / "tmp"]
        )
        self._folders.checked.mkdir(exist_ok=True)
        said = b""
        with self._buildah("images") as child:
            for _, data in child.read():
                said = (said + data)[-TAIL_BYTES:]
        if child.exit_code != 0:
            reason = said.decode(errors="replace").strip()
            raise EngineBroken(f"buildah cannot make a store: {reason}", code="store")
