"""The buildah engine: one build's life, from the order to a checked image."""

import hashlib
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Literal
from uuid import UUID

from builds.engines.base import TICK_SECONDS, EngineBroken, Problem
from builds.engines.buildah.bases import Bases
from builds.engines.buildah.machine import find_problems
from builds.engines.buildah.verdict import verdict
from builds.engines.sandbox.disk import DiskWatch
from builds.engines.sandbox.etc import write_etc
from builds.engines.sandbox.folders import Folders, Trace
from builds.engines.sandbox.layout import LayoutError, read_layout
from builds.engines.sandbox.limits import ControlGroup, Hierarchy, hierarchies
from builds.engines.sandbox.networks import can_have_network
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.sandbox.wall import Account, Room, Wall
from builds.orders import BuildOrder, BuildOutcome, Output
from builds.process import Child, ProcessError, start_time

SCRIPT = Path(__file__).with_name("build.sh")
TAIL_BYTES = 8_192


class BuildahEngine:
    """Keeps the promises of BuildEngine with rootless buildah behind the wall."""

    name: Literal["buildah", "docker", "scripted"] = "buildah"

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._folders = Folders(settings.root)
        self._wall = Wall(settings)
        self._bases = Bases(settings, self._wall, self._folders)
        self._script = SCRIPT.read_text()
        instance = hashlib.sha256(str(settings.root.absolute()).encode()).hexdigest()[:12]
        self._instance = f"slipway-{instance}"
        self._hierarchies: tuple[Hierarchy, ...] | None = None
        self._starting = threading.Lock()

    def problems(self) -> list[Problem]:
        return find_problems(self._settings, self._wall)

    def sweep(self, alive: frozenset[UUID]) -> None:
        account = self._ready()
        for trace in self._folders.traces():
            if trace.build_id not in alive:
                trace.end_processes()
                self._group(trace.build_id).remove()
                self._folders.remove(account, trace.work)
                self._folders.forget(trace.build_id)
        for folder in {f for h in self._groups() for f in (h.base / self._instance).glob("*-*-*")}:
            with suppress(ValueError):
                if (build_id := UUID(folder.name)) not in alive:
                    self._group(build_id).remove()

    def build(self, order: BuildOrder) -> Generator[Output, None, BuildOutcome]:
        account = self._ready()
        attempt = order.work / "attempt"
        self._lay_out(order, attempt, account)
        yield from self._bases.fetch(order.bases)
        network = order.network and can_have_network(account.uid)
        if order.network and not network:
            yield "stderr", b"This machine gives builds no network.\n"
        watch = DiskWatch(
            [attempt, self._folders.owner(order.owner_id)],
            account,
            limit=order.limits.disk_bytes,
            reserve=self._settings.reserve_bytes,
        )
        group = self._group(order.build_id)
        tail = b""
        try:
            group.create(order.limits)
            with self._enter(order, attempt, group, network=network) as child:
                self._folders.remember(
                    Trace(
                        build_id=order.build_id,
                        work=order.work,
                        pid=child.pid,
                        started=start_time(child.pid),
                    )
                )
                reading = child.read(TICK_SECONDS)
                for stream, data in reading:
                    if stream == "stderr":
                        tail = (tail + data)[-TAIL_BYTES:]
                    watch.look()
                    yield stream, data
            hit = group.hit()
        except (OSError, ProcessError) as error:
            raise EngineBroken(f"The build could not be run: {error}", code="wall") from error
        finally:
            group.remove()
        if child.exit_code != 0:
            failure = verdict(
                exit_code=child.exit_code or 0,
                tail=tail,
                entered=(attempt / "entered").exists(),
                hit=hit,
                order=order,
            )
            if failure.code == "base":
                self._bases.doubt(order.bases)
            raise failure
        try:
            return read_layout(attempt / "layout")
        except LayoutError as error:
            raise EngineBroken(f"The image is not whole: {error}", code="export") from error

    def discard(self, order: BuildOrder) -> None:
        self._folders.remove(self._ready(), order.work)
        self._folders.forget(order.build_id)

    def forget(self, owner_id: UUID) -> None:
        self._folders.remove(self._ready(), self._folders.owner(owner_id))

    def _ready(self) -> Account:
        try:
            account = self._wall.account
        except KeyError:
            user = self._settings.build_user
            raise EngineBroken(f"There is no user {user} to build as.", code="build-user") from None
        with self._starting:
            if self._hierarchies is None:
                write_etc(self._folders.etc, self._settings)
                self._hierarchies = hierarchies() if account.change else ()
        return account

    def _groups(self) -> tuple[Hierarchy, ...]:
        return self._hierarchies or ()

    def _group(self, build_id: UUID) -> ControlGroup:
        return ControlGroup(name=f"{self._instance}/{build_id}", hierarchies=self._groups())

    def _lay_out(self, order: BuildOrder, attempt: Path, account: Account) -> None:
        self._folders.remember(Trace(build_id=order.build_id, work=order.work))
        owner = self._folders.owner(order.owner_id)
        folders = [owner, owner / "store", owner / "cache", attempt]
        self._folders.create(account, [*folders, attempt / "run", attempt / "tmp"])
        (attempt / "Dockerfile").write_text(order.dockerfile)
        (attempt / "Dockerfile").chmod(0o644)
        self._folders.hand_over(account, order.context)

    def _enter(
        self, order: BuildOrder, attempt: Path, group: ControlGroup, *, network: bool
    ) -> Child:
        room = Room(
            writable={"owner": self._folders.owner(order.owner_id), "attempt": attempt},
            readable={"bases": self._folders.bases, "context": order.context},
            etc=self._folders.etc / "behind",
            # Caches stay with their owner; whatever else is temporary goes with the attempt.
            over={"/b/attempt/tmp/buildah-cache": "/b/owner/cache"},
        )
        # Last, so that it changes no layer, and each attempt's digest is its own.
        arguments = ["--label", f"slipway.build={order.build_id}"]
        for name, value in order.build_args:
            arguments += ["--build-arg", f"{name}={value}"]
        return self._wall.enter(
            room,
            ["bash", "-c", self._script, "build", *arguments],
            network=network,
            env={
                "HOME": "/b/attempt",
                "TMPDIR": "/b/attempt/tmp",
                "XDG_RUNTIME_DIR": "/b/attempt/run",
            },
            groups=group.folders,
        )
