"""The buildah engine: one build's life, from the order to a checked image."""

import hashlib
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid4

from builds.build_spec import BuildOutcome, BuildSpec, Output
from builds.engines.base import TICK_SECONDS, EngineBroken, EngineError, Problem
from builds.engines.buildah.bases import Bases
from builds.engines.buildah.caches import Caches
from builds.engines.buildah.layers import Layers
from builds.engines.buildah.machine import find_problems
from builds.engines.buildah.stores import Stores
from builds.engines.buildah.verdict import verdict
from builds.engines.sandbox.disk import DiskWatch
from builds.engines.sandbox.etc import write_etc
from builds.engines.sandbox.folders import Folders, Trace
from builds.engines.sandbox.layout import MALFORMED, LayoutError, read_layout
from builds.engines.sandbox.limits import ControlGroup, Controller, Hierarchy, hierarchies
from builds.engines.sandbox.networks import can_have_network
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.sandbox.wall import Account, Room, Wall
from builds.process import Child, ProcessError, start_time

SCRIPT = Path(__file__).with_name("build.sh")
TAIL_BYTES = 8_192
KILLED = 137
ENV = {"HOME": "/b/attempt", "TMPDIR": "/b/attempt/tmp", "XDG_RUNTIME_DIR": "/b/attempt/run"}


class BuildahEngine:
    """Keeps the promises of BuildEngine with rootless buildah behind the wall."""

    name: Literal["buildah", "docker", "scripted"] = "buildah"

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._folders = Folders(settings.root)
        self._stores = Stores(self._folders)
        self._layers = Layers(self._folders)
        self._wall = Wall(settings)
        self._bases = Bases(settings, self._wall, self._folders)
        self._script = SCRIPT.read_text()
        instance = hashlib.sha256(str(settings.root.absolute()).encode()).hexdigest()[:12]
        self._instance = f"slipway-{instance}"
        self._hierarchies: tuple[Hierarchy, ...] | None = None
        self._starting = threading.Lock()
        self._network = True
        self._stood: set[bool] = set()

    def problems(self) -> list[Problem]:
        found = find_problems(self._settings, self._wall, self._try_wall)
        self._network = all(problem.code != "network-refused" for problem in found)
        return found

    def sweep(self, alive: frozenset[UUID]) -> None:
        account = self._ready()
        for trace in self._folders.traces():
            if trace.build_id not in alive:
                trace.end_processes()
                self._group(trace.build_id).remove()
                self._stores.leave_unfinished(trace.owner_id)
                self._clear(account, trace.owner_id, trace.build_id, trace.work)
        for folder in {f for h in self._groups() for f in (h.base / self._instance).glob("*-*-*")}:
            with suppress(ValueError):
                if (build_id := UUID(folder.name)) not in alive:
                    self._group(build_id).remove()

        self._layers.drop_unused()

    def build(self, order: BuildSpec) -> Generator[Output, None, BuildOutcome]:
        account = self._ready()
        self._folders.remember(
            Trace(build_id=order.build_id, owner_id=order.owner_id, work=order.work)
        )
        locks = yield from self._stores.use(order.owner_id, order.build_id, account)
        try:
            bases = order.dockerfile.bases
            yield from self._bases.fetch([base.reference for base in bases if not base.private])
            if own := tuple((base.reference, base.digest) for base in bases if base.private):
                yield from self._bases.fetch_own(order.owner_id, own, order.auth_file)
            self._lay_out(order, account)
            return (yield from self._build(order, account))
        except (OSError, ProcessError) as error:
            raise EngineBroken(f"The build could not be run: {error}", code="wall") from error
        finally:
            self._stores.leave(locks)

    def discard(self, order: BuildSpec) -> None:
        self._clear(self._ready(), order.owner_id, order.build_id, order.work)

    def make_room(self, free_bytes: int) -> None:
        Caches(self._folders, self._stores, self._layers, self._bases).make_room(
            free_bytes, self._ready()
        )

    def _build(self, order: BuildSpec, account: Account) -> Generator[Output, None, BuildOutcome]:
        network = order.network and self._network and can_have_network(account.uid)
        if order.network and not network:
            yield "stderr", b"This machine gives builds no network.\n"
        watch = DiskWatch(
            [order.work, self._folders.owner(order.owner_id)],
            account,
            limit=order.limits.disk_bytes,
            reserve=self._settings.reserve_bytes,
        )
        known = self._layers.known(order.owner_id)
        if known:
            self._layers.stand_in(order.work / "attempt/layout", known, account)
        group = self._group(order.build_id)
        exit_code, tail = None, b""
        try:
            group.create(order.limits)
            with self._enter(
                order, group, "layers" if known else "whole", network=network
            ) as child:
                self._folders.remember(
                    Trace(
                        build_id=order.build_id,
                        owner_id=order.owner_id,
                        work=order.work,
                        pid=child.pid,
                        started=start_time(child.pid),
                    )
                )
                for stream, data in child.read(TICK_SECONDS):
                    if stream == "stderr":
                        tail = (tail + data)[-TAIL_BYTES:]
                    watch.look()
                    yield stream, data
            exit_code, hit = child.exit_code, group.hit()
        finally:
            group.remove()
            if exit_code is None or exit_code < 0 or exit_code == KILLED:
                self._stores.leave_unfinished(order.owner_id)
        if exit_code != 0:
            raise self._failure(order, exit_code or 0, tail, hit)
        return self._take_out(order, known)

    def _take_out(self, order: BuildSpec, known: dict[str, Path]) -> BuildOutcome:
        layout = order.work / "attempt/layout"
        try:
            checked = self._layers.fill_in(layout, known) if known else frozenset()
            outcome = read_layout(layout, checked)
            self._layers.keep(order.owner_id, outcome)
        except (LayoutError, *MALFORMED) as error:
            raise EngineBroken(f"The image is not whole: {error}", code="export") from error
        return outcome

    def _failure(
        self, order: BuildSpec, exit_code: int, tail: bytes, hit: Controller | None
    ) -> EngineError:
        failure = verdict(
            exit_code=exit_code,
            tail=tail,
            entered=(order.work / "attempt/entered").exists(),
            built=(order.work / "attempt/id").exists(),
            hit=hit,
            order=order,
        )
        if failure.code == "base":
            self._bases.doubt(order.owner_id, [base.reference for base in order.dockerfile.bases])
        return failure

    def _clear(self, account: Account, owner_id: UUID, build_id: UUID, work: Path) -> None:
        self._folders.remove(account, work)
        self._stores.settle(owner_id, build_id, lambda: self._remove_containers(account, owner_id))
        self._folders.forget(build_id)

    def _remove_containers(self, account: Account, owner_id: UUID) -> None:
        """Drop what killed builds left in a store, behind the wall like all that reads it."""
        self._errand(
            account, self._folders.owner(owner_id), ["bash", "-c", self._script, "build", "tidy"]
        )

    def _try_wall(self, *, network: bool) -> str:
        """What hinders the wall; a wall that stood once is not tried again."""
        if network in self._stood:
            return ""
        account = self._ready()
        owner = self._folders.root / "trial"
        self._folders.create(account, [owner, owner / "cache", self._folders.bases])
        said = self._errand(account, owner, ["true"], network=network)
        if not said:
            self._stood.add(network)
        return said

    def _errand(
        self, account: Account, owner: Path, command: list[str], *, network: bool = False
    ) -> str:
        """Run something short behind the wall; what it said, if it failed."""
        attempt = self._folders.root / "errands" / str(uuid4())
        self._folders.create(account, [attempt, attempt / "run", attempt / "tmp"])
        said = b""
        try:
            room = self._room(owner, attempt, attempt)
            with self._wall.enter(room, command, network=network, env=ENV) as child:
                for _, data in child.read():
                    said = (said + data)[-TAIL_BYTES:]
        finally:
            self._folders.remove(account, attempt)
        text = " ".join(said.decode(errors="replace").split())
        return (text or f"exit code {child.exit_code}") if child.exit_code else ""

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

    def _lay_out(self, order: BuildSpec, account: Account) -> None:
        attempt = order.work / "attempt"
        self._folders.create(account, [attempt, attempt / "run", attempt / "tmp"])
        text = order.dockerfile.text
        for base in reversed(order.dockerfile.bases):
            text = text.replace(base.context, base.reference)
        (attempt / "Dockerfile").write_text(text)
        (attempt / "Dockerfile").chmod(0o644)
        self._folders.hand_over(account, order.context)

    def _room(self, owner: Path, attempt: Path, context: Path) -> Room:
        readable = {"bases": self._folders.bases, "context": context}
        owned = self._folders.owned_bases(owner.name)
        return Room(
            writable={"owner": owner, "attempt": attempt},
            readable=readable | ({"owned-bases": owned} if owned.exists() else {}),
            etc=self._folders.etc / "behind",
            # Caches stay with their owner; whatever else is temporary goes with the attempt.
            over={"/b/attempt/tmp/buildah-cache": "/b/owner/cache"},
        )

    def _enter(self, order: BuildSpec, group: ControlGroup, task: str, *, network: bool) -> Child:
        owner = self._folders.owner(order.owner_id)
        # Last, so that it changes no layer, and each attempt's digest is its own.
        arguments = ["--label", f"slipway.build={order.build_id}"]
        for name, value in order.build_args:
            arguments += ["--build-arg", f"{name}={value}"]
        return self._wall.enter(
            self._room(owner, order.work / "attempt", order.context),
            ["bash", "-c", self._script, "build", task, *arguments],
            network=network,
            env=ENV,
            groups=group.folders,
        )
