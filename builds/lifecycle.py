"""What may be asked of builds and of those who run them: the only door. Enqueues on commit."""

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
    """What the current attempt was built from is no longer stored."""

    kind = error_codes.CONTEXT_GONE


class Superseded(Exception):
    """Another attempt has taken the place of this one, or its image was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What an owner wants built, complete and checked."""

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
    """A new attempt, queued and its target's current one. The one before it must have ended."""
    target = targets().select_for_update().get(pk=request.image_id)
    return _queued(_attempt(request, Build.objects.next_number(request.image_id)), target)


def request_first_build(target: Target, request: BuildRequest, *, number: int) -> Build:
    """Saves a new target with an attempt of that number, queued and its current one.

    Numbers go on where a target of that id was deleted before. Raises IntegrityError where there is
    such a target, or such an attempt.
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
    """A new attempt at what the current one was made of. Raises UnderWay or ContextGone.

    Nobody is charged for one that is `free`. `options` are as in `Build.again`.
    """
    return _again(targets().select_for_update().get(pk=image_id), free=free, **options)


@transaction.atomic
def request_retry(build: Build) -> Build:
    """A new attempt, free of charge, after this one. Raises also Superseded."""
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
    """Cancels a queued build at once, tells a running one's worker; False where it has ended."""
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
    """Deletes the target, cancels what runs and lets nothing stay: tag, context, log."""
    targets().filter(pk=image_id).delete()
    Build.objects.filter(image_id=image_id, discarded_at=None).update(discarded_at=timezone.now())
    unended = [Status.QUEUED, *RUNNING]
    for build in Build.objects.filter(image_id=image_id, status__in=unended):
        request_cancel(build)
    _on_commit(partial(actors.remove_image.send, image_id=str(image_id)))


def request_front(build: Build) -> bool:
    """Moves it before all others in the queue; False where it waits no more."""
    first = Build.objects.waiting().values_list("front", flat=True).first()
    moved = Build.objects.filter(pk=build.pk, status=Status.QUEUED).update(front=(first or 0) - 1)
    if moved:
        _on_commit(partial(ring, build.image_id))
    return bool(moved)


def request_pause(*, by: str) -> bool:
    """From now on no worker takes a build; what runs goes on. False where it was paused before."""
    _, made = Pause.objects.get_or_create(pk=Pause.ROW, defaults={"by": by})
    return made


def request_resume() -> bool:
    """Ends the pause and wakes the workers. False where there was none."""
    gone, _ = Pause.objects.all().delete()
    if gone:
        _on_commit(resend_queued)
    return bool(gone)


def request_drain(worker: str) -> bool:
    """That worker takes nothing more, and ends what it runs. False where it did so before."""
    working = Worker.objects.filter(pk=worker, drain_requested_at=None)
    return bool(working.update(drain_requested_at=timezone.now()))


def request_undrain(worker: str) -> bool:
    """That worker takes builds again. False where it did so before."""
    undone = Worker.objects.draining().filter(pk=worker).update(drain_requested_at=None)
    if undone:
        _on_commit(resend_queued)
    return bool(undone)


@transaction.atomic
def request_share(owner_id: UUID, *, priority: int, weight: int, most_running: int | None) -> None:
    """How an owner takes part in the queue from now on, with what waits already."""
    share = {"priority": priority, "weight": weight, "most_running": most_running}
    QueueOwner.objects.update_or_create(pk=owner_id, defaults=share)
    _on_commit(resend_queued)


def resend_queued() -> None:
    """Wakes as many hands as there are, or as builds wait; each goes on until none waits."""
    threads = sum(Worker.objects.alive().values_list("threads", flat=True))
    hands = threads or build_settings().workers
    waiting = Build.objects.waiting().values_list("pk", flat=True)
    actors.send_builds(waiting[:hands])


def _on_commit(send: Callable[[], object]) -> None:
    """What is decided stands, whether or not the queue can be told: the housekeeping tells it."""

    def tell() -> None:  # Django names it where it fails, and `send` may have no name
        send()

    transaction.on_commit(tell, robust=True)
