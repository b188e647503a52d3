"""The BuildKit engine: runs one build from its spec to a verified image."""

import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from builds.build_spec import (
    Base,
    BuildEvent,
    BuildOutcome,
    BuildSpec,
    StepOutput,
    StepState,
    StepUpdate,
)
from builds.engines.base import (
    TICK_SECONDS,
    BuildFailed,
    BuildInterrupted,
    EngineBroken,
    EngineError,
    Problem,
)
from builds.engines.base_images.fetch import BaseHold
from builds.engines.base_images.images import BaseImages, FetchedBase
from builds.engines.buildkit.backlog import backlog_of
from builds.engines.buildkit.builders import Builder, Builders, Lease
from builds.engines.buildkit.client import (
    ClientFiles,
    NamedContext,
    start_build,
    start_prune,
    write_definition,
)
from builds.engines.buildkit.failures import (
    CacheDamaged,
    ClientRun,
    failure_of,
    raise_for_end,
    usage_after,
    warn_of_kills,
)
from builds.engines.buildkit.machine import find_problems
from builds.engines.buildkit.progress import ProgressReader
from builds.engines.buildkit.stages import alike, stages_of
from builds.engines.sandbox.helper import BuilderUsage, Helper, HelperError
from builds.engines.sandbox.layout import LayoutError
from builds.engines.sandbox.settings import EngineSettings
from builds.process import ProcessError

LOOK_SECONDS = 1.0
PRUNE_BELOW = 0.25
"""Below this free share of a cache, it is pruned to half its size before a build."""
PRUNE_SECONDS = 60.0
OUTPUT_LOST = b"WARNING: the end of the output is lost: it came faster than it could be read.\n"


class BuildKitEngine:
    """Implements BuildEngine with BuildKit in sandboxes."""

    name: Literal["buildkit", "scripted"] = "buildkit"

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._helper = Helper(settings.helper_socket)
        self._bases = BaseImages(settings)
        self._builders = Builders(settings, self._helper)

    def problems(self) -> list[Problem]:
        return find_problems(self._settings, self._helper)

    def sweep(self, alive: frozenset[UUID]) -> None:
        self._builders.sweep()
        self._bases.sweep()

    def build(self, spec: BuildSpec) -> Generator[BuildEvent, None, BuildOutcome]:
        try:
            network = spec.network and self._helper.info().network
            if spec.network and not network:
                yield StepOutput("stderr", b"This machine gives builds no network.\n")
            with BaseHold() as hold:
                return (yield from self._try_twice(spec, hold, network=network))
        except HelperError as error:
            kind = BuildInterrupted if error.code == "unreachable" else EngineBroken
            raise kind(f"The build could not be run: {error}", code="engine") from error
        except (OSError, ProcessError) as error:
            raise EngineBroken(f"The build could not be run: {error}", code="engine") from error

    def discard(self, spec: BuildSpec) -> None:
        shutil.rmtree(spec.work, ignore_errors=True)

    def make_room(self, free_bytes: int) -> None:
        self._builders.expire()
        if self._free() >= free_bytes:
            return
        for owner_id in self._builders.owners_by_age():
            if self._free() >= free_bytes:
                return
            self._builders.drop_caches(owner_id)
            self._bases.drop_owner(owner_id)
        self._bases.drop_unused(free_bytes)

    def close(self) -> None:
        """End all warm builders."""
        self._builders.close()

    def _try_twice(
        self, spec: BuildSpec, hold: BaseHold, *, network: bool
    ) -> Generator[BuildEvent, None, BuildOutcome]:
        """Build. If the cache turns out to be damaged, retry once with an empty cache."""
        fetched: Sequence[FetchedBase] | None = None
        progress: ProgressReader | None = None
        for tries_left in (1, 0):
            with self._builders.use(spec.owner_id, network=network, limits=spec.limits) as lease:
                # The daemon starts while the bases are fetched.
                if fetched is None or progress is None:
                    fetched = yield from self._fetch(spec, hold)
                    stages = stages_of(spec.dockerfile, fetched)
                    progress = ProgressReader(stages, alike(spec.dockerfile))
                try:
                    return (yield from self._build(spec, lease, fetched, progress))
                except CacheDamaged as problem:
                    lease.drop_cache = True
                    if not tries_left:
                        text = "The builder could not be used, with a new cache either."
                        raise EngineBroken(text, code="builder") from problem
            yield StepOutput("stderr", b"The build cache was damaged; it was emptied.\n")
        raise AssertionError("unreachable")

    def _fetch(
        self, spec: BuildSpec, hold: BaseHold
    ) -> Generator[BuildEvent, None, tuple[FetchedBase, ...]]:
        """Fetch every base that the build needs."""
        fetched: list[FetchedBase] = []
        for base in spec.dockerfile.bases:
            steps = [step.number for step in spec.dockerfile.steps if step.base == base.context]
            yield from _update(steps, "started")
            try:
                fetched.append((yield from self._fetch_one(spec, base, hold)))
            except EngineError:
                yield from _update(steps, "failed")
                raise
            yield from _update(steps, "succeeded")
        return tuple(fetched)

    def _fetch_one(
        self, spec: BuildSpec, base: Base, hold: BaseHold
    ) -> Generator[BuildEvent, None, FetchedBase]:
        if base.private:
            (found,) = yield from self._bases.fetch_private(
                [(base, base.digest)], hold, owner_id=spec.owner_id, token=spec.registry_token
            )
        else:
            (found,) = yield from self._bases.fetch([base], hold, pull=spec.pull)
        return found

    def _build(
        self,
        spec: BuildSpec,
        lease: Lease,
        fetched: Sequence[FetchedBase],
        progress: ProgressReader,
    ) -> Generator[BuildEvent, None, BuildOutcome]:
        builder = lease.builder
        before = self._usage_before(builder)
        if before.disk_size and before.disk_free < before.disk_size * PRUNE_BELOW:
            yield from self._prune(builder, before.disk_size // 2)
        for tries_left in (2, 1, 0):
            run = ClientRun(progress, before=before)
            builder.output.begin()
            yield from self._drive(spec, builder, fetched, run)
            if run.lost_output:
                # Run it again: the steps are cached now and print nothing.
                yield StepOutput("stderr", OUTPUT_LOST)
                if not tries_left:
                    raise EngineBroken("The builder's output cannot be read.", code="progress")
                continue
            if run.exit_code != 0:
                break
            after = usage_after(builder, run)
            if after.disk_damaged:
                raise CacheDamaged("The kernel found errors in the file system of the cache.")
            yield from warn_of_kills(after, run)
            yield from progress.finish(success=True)
            try:
                outcome = builder.output.take(spec.work / "image")
            except LayoutError as error:
                # buildx does not verify existing blobs. Try again and let it write all of them.
                builder.output.drop()
                shutil.rmtree(spec.work / "image", ignore_errors=True)
                if not tries_left:
                    text = f"The image is not whole: {error}"
                    raise EngineBroken(text, code="export") from error
            else:
                lease.keep = True
                return replace(outcome, bases=_names_of(fetched))
        yield from progress.finish(success=False)
        yield from self._check_bases(run, fetched)
        failure = failure_of(spec, builder, run)
        lease.keep = isinstance(failure, BuildFailed)
        lease.drop_cache = failure.code == "disk"
        raise failure

    def _drive(
        self, spec: BuildSpec, builder: Builder, fetched: Sequence[FetchedBase], run: ClientRun
    ) -> Generator[BuildEvent, None, None]:
        definition = spec.work / "definition"
        shutil.rmtree(definition, ignore_errors=True)
        write_definition(definition, spec)
        files = ClientFiles(
            socket=builder.socket,
            definition=definition,
            context=spec.context,
            output=builder.output.folder,
            bases=[
                NamedContext(name=b.base.context, store=b.store, digest=b.digest) for b in fetched
            ],
        )
        look_at = time.monotonic()
        began = time.time()
        with (
            start_build(self._settings.engine_root, spec, files) as child,
            backlog_of(child, spec.work) as backlog,
        ):
            while (data := backlog.take(TICK_SECONDS)) is not None:
                yield from run.events(data)
                yield from run.progress.settle(datetime.now(UTC))
                yield StepOutput("stderr", b"")
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + LOOK_SECONDS
                    self._check_disk(spec, builder, began)
        run.json.close()
        run.exit_code = child.exit_code or 0

    def _check_bases(
        self, run: ClientRun, fetched: Sequence[FetchedBase]
    ) -> Generator[BuildEvent, None, None]:
        if run.doubts_bases and (yield from self._bases.drop_damaged(fetched)):
            text = "A base image was damaged on the build server's disk; it will be fetched again."
            raise EngineBroken(text, code="store")

    def _check_disk(self, spec: BuildSpec, builder: Builder, began: float) -> None:
        if self._free() < self._settings.reserve_bytes:
            raise EngineBroken("The build server's disk is nearly full.", code="disk")
        if builder.output.written_since(began) > spec.limits.disk_bytes:
            limit = spec.limits.disk_bytes >> 20
            raise BuildFailed(
                f"The image is larger than the build's disk limit of {limit} MiB.", code="disk"
            )

    def _usage_before(self, builder: Builder) -> BuilderUsage:
        """The builder's usage before a build.

        Raises HelperError, BuildInterrupted if the builder was killed, or CacheDamaged.
        """
        try:
            before = builder.sandbox.usage()
        except HelperError:
            raise_for_end(builder)
            raise
        if before.disk_damaged:
            raise CacheDamaged("The kernel found errors in the file system of the cache.")
        return before

    def _prune(self, builder: Builder, keep_bytes: int) -> Generator[BuildEvent, None, None]:
        until = time.monotonic() + PRUNE_SECONDS
        with start_prune(
            self._settings.engine_root, builder.socket, keep_bytes=keep_bytes
        ) as child:
            for _ in child.read(TICK_SECONDS):  # its output is not needed
                yield StepOutput("stderr", b"")
                if time.monotonic() > until:
                    return

    def _free(self) -> int:
        return shutil.disk_usage(self._settings.root).free


def _names_of(fetched: Sequence[FetchedBase]) -> tuple[tuple[str, str], ...]:
    return tuple((each.base.reference, each.digest) for each in fetched)


def _update(steps: Sequence[int], state: StepState) -> Iterator[StepUpdate]:
    now = datetime.now(UTC)
    return (StepUpdate(number, state, now) for number in steps)
