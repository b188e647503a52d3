"""Runs one attempt from claim to final status, with engine, log and registry.

In every case the attempt is settled with a reason as its last log line, and nothing of it keeps
running. If even that fails (database unavailable, process killed), its lease expires and the reaper
does it.
"""

import shutil
from collections.abc import Callable, Generator
from datetime import timedelta
from logging import getLogger
from pathlib import Path
from time import monotonic, sleep
from typing import Literal, TypeVar
from uuid import UUID

from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.utils import timezone

from builds import context, dockerfile
from builds.build_options import OptionRefused, check_build_args
from builds.build_spec import BuildEvent, BuildOutcome, BuildSpec, Output, StepOutput, StepUpdate
from builds.completion import settle_failed, settle_succeeded
from builds.conf import BuildSettings, build_settings
from builds.engine_factory import engine
from builds.engines.base import BuildFailed, BuildInterrupted, EngineBroken
from builds.expiry import BadExpiry, expires_after, labels_of
from builds.failures import BUILDER_LOST, CANCELLED, INTERRUPTED, Failure
from builds.log_context import working_on
from builds.logs.store import FenceLost
from builds.logs.writer import LogWriter
from builds.models import Build, targets
from builds.registry import Manifest, Registry, RegistryError, make_registry
from builds.registry.contents import contents_of_layout
from builds.registry.private_bases import BaseRefused, find_own_bases
from builds.resource_classes import size_of
from builds.status import Status
from builds.worker import WORKER
from builds.worker_checks import WORKER_CHECKS
from common.outages import DATABASE_OUTAGES, StorageAway

LOOK_SECONDS = 1.0
DOCKERFILE_BYTES = 1024 * 1024
"""Same limit as for a Dockerfile that is sent separately."""
logger = getLogger(__name__)
T = TypeVar("T")


class Ended(Exception):
    """The attempt has ended without an image, with this status and failure."""

    def __init__(self, to: Status, failure: Failure) -> None:
        super().__init__(failure.text)
        self.to = to
        self.failure = failure


def failed(
    fault: Literal["user", "service"], code: str, text: str, *, exit_code: int | None = None
) -> Ended:
    """An Ended exception with status FAILED."""
    failure = Failure(fault=fault, code=code, text=text, exit_code=exit_code)
    return Ended(Status.FAILED, failure)


def run_next() -> bool:
    """Run the next build of the queue to its end. False if there is none for this worker.

    If another worker takes the chosen build first, the next one is tried.
    """
    while WORKER_CHECKS.fit() and (build_id := WORKER.next()) is not None:
        if run(build_id):
            return True
    return False


def run(build_id: UUID) -> bool:
    """Claim and run a build. False if it could not be claimed."""
    with working_on(build_id), WORKER.claim(build_id) as build:
        if build is None:
            return False
        settings = build_settings()
        try:
            Attempt(build, settings, make_registry(settings)).run()
        except RegistryError as problem:
            # There is no log yet, and the file with the registry's credentials is unusable.
            failure = Failure(fault="service", code="registry", text=str(problem))
            settle_failed(build_id, fence=build.fence, to=Status.FAILED, failure=failure)
            WORKER.note_failure(build.image_id, failure.text)
        except FenceLost:
            logger.warning("build %s: settled by somebody else meanwhile", build_id)
        return True


class Attempt:
    """One claimed build. Used by a single thread."""

    def __init__(self, build: Build, settings: BuildSettings, registry: Registry) -> None:
        self.build = build
        self.settings = settings
        self.registry = registry
        self.size = size_of(build.resource_class)
        self.deadline = monotonic() + self.size.deadline_seconds
        self.looked_at = 0.0
        self.log = LogWriter(build, secrets=self.registry.secrets, still_ours=self.look)

    def run(self) -> None:
        """Build, push and settle the attempt. Raises FenceLost if it was settled elsewhere."""
        try:
            outcome = self._make()
        except Ended as end:
            self._settle(end)
        except FenceLost:
            raise
        except DATABASE_OUTAGES as problem:
            # The failure cannot be stored. The lease will expire, and the build starts again.
            logger.warning("build %s: the database stays away: %s", self.build.pk, problem)
        except Exception:
            logger.exception("build %s broke", self.build.pk)
            self._settle(failed("service", "internal", f"internal error in build {self.build.pk}"))
        else:
            WORKER.quarantine.note_good()
            logger.info("build %s: %s pushed as %s", self.build.pk, self.build, outcome.digest)
        finally:
            self.log.close()

    def _make(self) -> BuildOutcome:
        self.log.say(f"Building {self.build}")
        work = self.settings.work_folder / str(self.build.pk)
        try:
            inside = self._read_inside(work / "context")
            spec = self._spec(work)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        try:
            if not inside:
                self._unpack(spec.context)
            spec = find_own_bases(spec, self.settings)
            outcome = self._drive(engine().build(spec))
            self.log.complete()
            self._push(outcome)
        except BuildFailed as problem:
            raise failed(
                "user", problem.code, problem.text, exit_code=problem.exit_code
            ) from problem
        except BaseRefused as problem:
            raise failed("user", "base", str(problem)) from problem
        except RegistryError as problem:
            raise failed("service", "registry", str(problem)) from problem
        except BuildInterrupted as problem:
            logger.warning("build %s was interrupted: %s", self.build.pk, problem.text)
            raise Ended(Status.LOST, BUILDER_LOST) from problem
        except EngineBroken as problem:
            logger.exception("build %s: the engine is broken", self.build.pk)
            raise failed("service", problem.code, problem.text) from problem
        finally:
            engine().discard(spec)
        return outcome

    def _spec(self, work: Path) -> BuildSpec:
        try:
            check_build_args(self.build.build_args)
            read = dockerfile.read(
                self.build.dockerfile,
                build_args=self.build.build_args,
                target=self.build.target,
            )
        except dockerfile.DockerfileRefused as problem:
            raise failed("user", "dockerfile", str(problem)) from problem
        except OptionRefused as problem:
            raise failed("user", "build-args", str(problem)) from problem
        self.log.steps = read.steps
        return BuildSpec(
            build_id=self.build.pk,
            owner_id=self.build.owner_id,
            label=self.build.label,
            context=work / "context",
            dockerfile=read,
            build_args=tuple(sorted(self.build.build_args.items())),
            target=self.build.target,
            no_cache=self.build.no_cache,
            pull=self.build.pull,
            labels=tuple(sorted(self.build.labels.items())),
            network=self.settings.network,
            limits=self.size.limits,
            work=work,
        )

    def _read_inside(self, folder: Path) -> bool:
        """Read the Dockerfile from the context, which is unpacked for that. False if it was sent
        separately, or read by an earlier attempt."""
        build = self.build
        if build.dockerfile or not build.dockerfile_path:
            return False
        self._unpack(folder)
        try:
            build.dockerfile = context.read_text(
                folder, build.dockerfile_path, most_bytes=DOCKERFILE_BYTES
            )
        except context.ContextRefused as problem:
            raise failed("user", "dockerfile", problem.text) from problem
        self._insist(lambda: Build.objects.held_by(build).update(dockerfile=build.dockerfile))
        return True

    def _unpack(self, folder: Path) -> None:
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            with default_storage.open(self.build.context_key) as archive:
                summary = context.unpack(archive, folder, tick=self.look)
        except context.ContextRefused as problem:
            raise failed("user", "context", str(problem)) from problem
        except (FileNotFoundError, StorageAway) as problem:
            logger.exception("build %s: its context cannot be read", self.build.pk)
            text = "the stored context cannot be read just now; ask the operator"
            raise failed("service", "storage", text) from problem
        files = f"{summary.files} file{'' if summary.files == 1 else 's'}"
        self.log.say(f"Context: {files}, {summary.bytes} bytes")

    def _push(self, outcome: BuildOutcome) -> None:
        """Push to the attempt's own tag; then move the public tag if the claim still holds."""
        build = self.build
        if not self._insist(self._begin_to_push):
            self.look(now=True)
            raise FenceLost
        reference = f"{self.settings.registry}/{build.repository}"
        self.expires_after = self._expires_after(outcome)
        self.log.say(f"Pushing {reference}:{build.tag}")
        try:
            manifest = self._drive(
                self.registry.push(
                    outcome.layout, repository=build.repository, tag=build.attempt_tag
                )
            )
            if not self._insist(lambda: self._publish(outcome, manifest)):
                self.look(now=True)
                raise FenceLost
        except RegistryError as problem:
            raise failed("service", "push", str(problem)) from problem

    def _begin_to_push(self) -> bool:
        held = Build.objects.held_by(self.build)
        # The move may have been committed before the database became unavailable.
        return (
            bool(held.move(Status.PUSHING, pushing_at=timezone.now()))
            or held.filter(status=Status.PUSHING).exists()
        )

    def _publish(self, outcome: BuildOutcome, manifest: Manifest) -> bool:
        """Move the public tag and settle, with the target locked against other attempts, cancel
        and removal."""
        build = self.build
        self.log.finish()
        contents = contents_of_layout(outcome.layout, manifest, outcome.bases)
        with transaction.atomic():
            target = targets().select_for_update().filter(pk=build.image_id).first()
            held = Build.objects.select_for_update().held_by(build).filter(status=Status.PUSHING)
            if target is None or target.current_id != build.pk or not held.exists():
                return False
            self.registry.tag(build.repository, manifest, tag=build.tag)
            last = self.log.line(f"Built and pushed as {manifest.digest}", "stdout")
            return settle_succeeded(
                build,
                digest=manifest.digest,
                image_bytes=outcome.size_bytes,
                line=last,
                expires_after=self.expires_after,
                contents=contents,
            )

    def _expires_after(self, outcome: BuildOutcome) -> timedelta | None:
        try:
            return expires_after({**labels_of(outcome.layout), **self.build.labels})
        except BadExpiry as problem:
            self.log.say(f"The image is kept: its label {problem}.")
            return None

    def _drive(self, work: Generator[BuildEvent | Output, None, T]) -> T:
        """Run an engine or a push to its end and log its output. Closed when the attempt ends."""
        try:
            while True:
                event = next(work)
                if isinstance(event, StepUpdate):
                    self.log.update(event)
                else:
                    self.log.write(StepOutput(*event))
                self.look()
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            work.close()

    def look(self, *, now: bool = False) -> None:
        """Raises Ended or FenceLost if the attempt must stop. Queries the database once a
        second."""
        if WORKER.stopping.is_set():
            raise Ended(Status.LOST, BUILDER_LOST if WORKER.helper_lost else INTERRUPTED)
        if monotonic() > self.deadline:
            seconds = self.size.deadline_seconds
            raise failed("user", "deadline", f"deadline: the build took longer than {seconds} s")
        if not now and monotonic() - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at = began = monotonic()
        try:
            held = Build.objects.held_by(self.build).values_list("status", flat=True).first()
        except DATABASE_OUTAGES:
            # If the database stays unavailable, the lease expires and the reaper settles this
            # attempt.
            connection.close()
            # The query may have taken seconds; leave as much time to read the child's output.
            self.looked_at = 2 * monotonic() - began
            return
        if held is None:
            raise FenceLost
        if held == Status.CANCELLING:
            raise Ended(Status.CANCELLED, CANCELLED)

    def _settle(self, end: Ended) -> None:
        def settle() -> None:
            self.log.finish()
            last = self.log.line(end.failure.text)
            settle_failed(
                self.build.pk, fence=self.build.fence, to=end.to, failure=end.failure, line=last
            )

        self._insist(settle)
        if end.failure is INTERRUPTED or end.failure is CANCELLED:
            return
        if end.failure.fault == "user":
            WORKER.quarantine.note_good()
        else:
            self._insist(lambda: WORKER.note_failure(self.build.image_id, end.failure.text))

    def _insist(self, act: Callable[[], T]) -> T:
        """Retry `act` during a database outage, for about 16 seconds: longer than that, the
        lease is lost."""
        for wait in (0.2, 0.5, 1, 2, 4, 8):
            try:
                return act()
            except DATABASE_OUTAGES:
                logger.warning("build %s: the database is away", self.build.pk)
                connection.close()
                sleep(wait)
        return act()
