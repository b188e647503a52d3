"""Housekeeping: settles builds of lost workers, finds lost messages, removes data of deleted
images.

Every function is safe to run twice and in several processes at once. Builds to start are returned
as ids; the caller sends the messages.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from time import monotonic, time
from uuid import UUID

from django.core.files.storage import default_storage
from django.db.models import Exists, OuterRef
from django.utils import timezone

from builds.completion import settle_failed
from builds.conf import TRIAL, build_settings
from builds.failures import CANCELLED, WORKER_LOST
from builds.models import Build, LogChunk, targets
from builds.queue.turns import ready_builds
from builds.registry import RegistryError, make_registry
from builds.status import FINAL, Status
from builds.worker import WORKER

TRIAL_SECONDS = 3_600
PURGE_SECONDS = 5.0
"""Time limit of one call, however slow registry and storage are."""
BATCH = 100
"""Keys per query: with more, PostgreSQL does not use the partial index."""
logger = getLogger(__name__)


def settle_expired() -> list[UUID]:
    """Settle builds whose lease has expired. Returns the ids of their next attempts."""
    if not WORKER.trusts_leases:
        return []
    return settle_orphans(Build.objects.expired())


def settle_orphans(builds: Iterable[Build]) -> list[UUID]:
    """Settle running builds that no worker holds any more. Returns the ids of their next
    attempts."""
    successors = []
    for build in builds:
        asked = build.state is Status.CANCELLING
        settled = settle_failed(
            build.pk,
            fence=build.fence,
            to=Status.CANCELLED if asked else Status.LOST,
            failure=CANCELLED if asked else WORKER_LOST,
        )
        logger.warning("build %s lost its worker %s", build.pk, build.worker)
        if settled and settled.state is Status.QUEUED:
            successors.append(settled.pk)
    return successors


def forgotten() -> list[UUID]:
    """Waiting builds that this process has free slots for: their messages may be lost.

    At most as many as there are free slots, and none if this worker takes no builds.
    """
    classes = build_settings().worker_classes
    return ready_builds(WORKER.name, classes=classes, most=WORKER.free())


def purge(*, image_id: UUID | None = None) -> None:
    """Remove data of deleted images' builds from registry, storage and database.

    A build is marked as purged only when everything was removed; otherwise a later call continues.
    """
    until = monotonic() + PURGE_SECONDS
    builds = Build.objects.to_purge().order_by("discarded_at")
    if image_id is not None:
        builds = builds.filter(image_id=image_id)
    for build in builds[:200]:
        try:
            _purge_one(build)
        except (RegistryError, OSError):
            logger.warning("what build %s left could not be removed yet", build.pk, exc_info=True)
        if monotonic() > until:
            return


def _purge_one(build: Build) -> None:
    registry = make_registry(build_settings())
    # A build that failed or was cancelled late may have pushed already: look up its own tag.
    digest = build.digest or registry.digest_of(build.repository, build.attempt_tag)
    if digest and _is_shared(build, digest):
        registry.delete_tag(build.repository, build.attempt_tag)
    elif digest:
        registry.delete(build.repository, digest)
    kept = Build.objects.filter(context_key=build.context_key, discarded_at=None)
    if build.context_key and not kept.exists():
        default_storage.delete(build.context_key)
    if build.archive_key:
        default_storage.delete(build.archive_key)
    LogChunk.objects.filter(build=build).delete()
    Build.objects.filter(pk=build.pk).update(
        purged_at=timezone.now(),
        context_key="",
        archive_key="",
        chunks_due_at=None,
        log_steps=[],
        step_list=[],
        step_times=[],
    )


def _is_shared(build: Build, digest: str) -> bool:
    """Whether a remaining attempt has the same image in the same repository."""
    others = Build.objects.filter(digest=digest, discarded_at=None).exclude(pk=build.pk)
    return any(each.repository == build.repository for each in others.only("label"))


def drop_work_folders() -> None:
    """Remove folders that killed processes of this machine left for builds that no longer run."""
    # List folders before the query: a build is running before its folder exists.
    folders = {path.name: path for path in build_settings().work_folder.glob("*")}
    ids = []
    for name in folders:
        with suppress(ValueError):
            ids.append(UUID(name))
    running = set(Build.objects.running().filter(pk__in=ids).values_list("pk", flat=True))
    for name in folders.keys() - {str(pk) for pk in running | WORKER.held()}:
        if not _is_on_trial(folders[name]):
            shutil.rmtree(folders[name], ignore_errors=True)


def _is_on_trial(folder: Path) -> bool:
    """Whether it may be the folder of a running trial build."""
    with suppress(FileNotFoundError):
        return folder.name.startswith(TRIAL) and time() - folder.stat().st_mtime < TRIAL_SECONDS
    return False


def drop_superseded_contexts() -> None:
    """Clear the context of ended attempts if neither a current nor an unfinished attempt uses it.

    Only checks builds marked by `Build.become_current`. The files are removed later by
    `builds.unreferenced_files`.
    """
    marked = Build.objects.filter(context_superseded=True, status__in=FINAL)
    keys = set(marked.values_list("context_key", flat=True)[:BATCH])
    named = Build.objects.filter(context_key__in=keys).exclude(context_key="")
    current = Exists(targets().filter(current=OuterRef("pk")))
    needed = set(named.filter(current).values_list("context_key", flat=True))
    needed |= set(named.exclude(status__in=FINAL).values_list("context_key", flat=True))
    superseded = named.filter(context_key__in=keys - needed - {""})
    superseded.update(context_key="", context_superseded=False)
    Build.objects.filter(context_superseded=True, context_key="").update(context_superseded=False)
