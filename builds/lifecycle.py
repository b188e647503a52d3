"""All changes to builds and workers go through these functions. Messages are sent on commit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from builds import actors
from builds.build_spec import DEFAULT_CLASS
from builds.completion import settle_failed
from builds.conf import build_settings
from builds.failures import CANCELLED
from builds.logs.pubsub import ring
from builds.models import Build, QueueOwner, Target, targets
from builds.models.workers import Pause, Worker
from builds.status import FINAL, RUNNING, Status, state_word
from common import error_codes
from common.error_codes import CodedError
from database.prepared_queries import insert


class UnderWay(CodedError):
    """The current attempt has not ended."""

    kind = error_codes.BUILD_UNDER_WAY


class ContextGone(CodedError):
    """The context of the current attempt is no longer stored."""

    kind = error_codes.CONTEXT_GONE


class Superseded(Exception):
    """A newer attempt exists, or the image was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A complete, validated request for a build."""

    image_id: UUID
    owner_id: UUID
    label: str
    dockerfile: str
    dockerfile_path: str = ""
    build_args: dict[str, str]
    target: str = ""
    no_cache: bool = False
    pull: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    resource_class: str = DEFAULT_CLASS
    context_key: str
    context_sha256: str
    context_bytes: int


@transaction.atomic
def request_build(request: BuildRequest) -> Build:
    """Queue a new attempt and make it the target's current one. The previous one must have
    ended."""
    target = targets().select_for_update().get(pk=request.image_id)
    return _queued(_attempt(request, Build.objects.next_number(request.image_id)), target)


def request_first_build(target: Target, request: BuildRequest, *, number: int) -> Build:
    """Save a new target with its first attempt, queued and current.

    `number` continues the numbers of a deleted target with the same id. Raises IntegrityError if
    the target or the attempt exists.
    """
    build = _attempt(request, number)
    target.current, target.state = build, state_word(build.state)
    insert(build, target)
    _on_commit(partial(actors.send_builds, [build.pk]))
    return build


def _attempt(request: BuildRequest, number: int) -> Build:
    return Build(
        image_id=request.image_id,
        owner_id=request.owner_id,
        label=request.label,
        number=number,
        dockerfile=request.dockerfile,
        dockerfile_path=request.dockerfile_path,
        build_args=request.build_args,
        target=request.target,
        no_cache=request.no_cache,
        pull=request.pull,
        labels=request.labels,
        resource_class=request.resource_class,
        context_key=request.context_key,
        context_sha256=request.context_sha256,
        context_bytes=request.context_bytes,
    )


@transaction.atomic
def request_again(image_id: UUID, *, free: bool = False, **options: Any) -> Build:
    """Queue a new attempt from the current one's inputs. Raises UnderWay or ContextGone.

    With `free`, the owner is not charged. `options`: see `Build.again`.
    """
    return _again(targets().select_for_update().get(pk=image_id), free=free, **options)


@transaction.atomic
def request_retry(build: Build) -> Build:
    """Queue a new, free attempt after this one. Raises UnderWay, ContextGone or Superseded."""
    target = targets().select_for_update().filter(pk=build.image_id).first()
    if target is None or target.current_id != build.pk:
        raise Superseded
    return _again(target, free=True)


def _again(target: Target, /, *, free: bool, **options: Any) -> Build:
    last = target.current
    if last is None or last.state not in FINAL:
        raise UnderWay
    if not last.context_key:
        raise ContextGone
    return _queued(last.again(restarts=0, free=free, **options), target)


def _queued(build: Build, target: Target) -> Build:
    build.save(force_insert=True)
    build.become_current(target)
    _on_commit(partial(actors.send_builds, [build.pk]))
    return build


def request_cancel(build: Build) -> bool:
    """Cancel a queued build at once, or ask a running one's worker to. False if it has ended."""
    settled = (
        settle_failed(build.pk, fence=build.fence, to=Status.CANCELLED, failure=CANCELLED)
        if build.state is Status.QUEUED
        else None
    )
    if settled is not None:
        return True
    asked = Build.objects.filter(pk=build.pk)
    if asked.move(Status.CANCELLING, cancel_requested_at=timezone.now()):
        return True
    return asked.filter(status=Status.CANCELLING).exists()


@transaction.atomic
def request_removal(image_id: UUID) -> None:
    """Delete the target, cancel running builds, and remove tag, context and log of every build."""
    targets().filter(pk=image_id).delete()
    Build.objects.filter(image_id=image_id, discarded_at=None).update(discarded_at=timezone.now())
    unended = [Status.QUEUED, *RUNNING]
    for build in Build.objects.filter(image_id=image_id, status__in=unended):
        request_cancel(build)
    _on_commit(partial(actors.remove_image.send, image_id=str(image_id)))


def request_front(build: Build) -> bool:
    """Move a build to the front of the queue. False if it no longer waits."""
    first = Build.objects.waiting().values_list("front", flat=True).first()
    moved = Build.objects.filter(pk=build.pk, status=Status.QUEUED).update(front=(first or 0) - 1)
    if moved:
        _on_commit(partial(ring, build.image_id))
    return bool(moved)


def request_pause(*, by: str) -> bool:
    """Pause the queue: no worker takes builds, running ones continue. False if it was paused
    already."""
    _, made = Pause.objects.get_or_create(pk=Pause.ROW, defaults={"by": by})
    return made


def request_resume() -> bool:
    """Resume the queue and wake the workers. False if it was not paused."""
    gone, _ = Pause.objects.all().delete()
    if gone:
        _on_commit(resend_queued)
    return bool(gone)


def request_drain(worker: str) -> bool:
    """Drain a worker: it takes no more builds and finishes the running ones. False if already
    draining, or unknown."""
    working = Worker.objects.filter(pk=worker, drain_requested_at=None)
    return bool(working.update(drain_requested_at=timezone.now()))


def request_undrain(worker: str) -> bool:
    """Let a drained worker take builds again. False if it was not draining."""
    undone = Worker.objects.draining().filter(pk=worker).update(drain_requested_at=None)
    if undone:
        _on_commit(resend_queued)
    return bool(undone)


@transaction.atomic
def request_share(owner_id: UUID, *, priority: int, weight: int, most_running: int | None) -> None:
    """Set an owner's priority, weight and limit in the queue. They apply to waiting builds too."""
    share = {"priority": priority, "weight": weight, "most_running": most_running}
    QueueOwner.objects.update_or_create(pk=owner_id, defaults=share)
    _on_commit(resend_queued)


def resend_queued() -> None:
    """Send wake-up messages, at most one per build slot. Each worker thread continues until no
    build waits."""
    threads = sum(Worker.objects.alive().values_list("threads", flat=True))
    hands = threads or build_settings().workers
    waiting = Build.objects.waiting().values_list("pk", flat=True)
    actors.send_builds(waiting[:hands])


def _on_commit(send: Callable[[], object]) -> None:
    """Call `send` after the commit. A failure to send is only logged: the housekeeping sends
    again."""

    def tell() -> None:  # Django logs its name on failure; `send` may have none
        send()

    transaction.on_commit(tell, robust=True)
