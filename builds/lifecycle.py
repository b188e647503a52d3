"""What may be asked of builds: make one, cancel one, remove an image's. Enqueues on commit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from builds import actors
from builds.models import Build, Target
from builds.settle import CANCELLED, settle_failed
from builds.status import FINAL, RUNNING, Status


class UnderWay(Exception):
    """The current attempt has not ended."""


class ContextGone(Exception):
    """What the current attempt was built from is no longer stored."""


class Superseded(Exception):
    """Another attempt has taken the place of this one, or its image was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What an owner wants built, complete and checked."""

    image_id: UUID
    owner_id: UUID
    repository: str
    tag: str
    label: str
    dockerfile: str
    build_args: dict[str, str]
    context_key: str
    context_sha256: str
    context_bytes: int


@transaction.atomic
def request_build(request: BuildRequest) -> Build:
    """A new attempt, queued and made its target's current one.

    The target is made where there is none. The attempt before it must have ended.
    """
    target, _ = Target.objects.select_for_update().get_or_create(
        image_id=request.image_id,
        defaults={
            "owner_id": request.owner_id,
            "repository": request.repository,
            "tag": request.tag,
        },
    )
    build = Build.objects.create(
        image_id=request.image_id,
        owner_id=request.owner_id,
        label=request.label,
        number=Build.objects.next_number(request.image_id),
        dockerfile=request.dockerfile,
        build_args=request.build_args,
        context_key=request.context_key,
        context_sha256=request.context_sha256,
        context_bytes=request.context_bytes,
    )
    target.current = build
    target.save(update_fields=["current"])
    _on_commit(partial(actors.send_builds, [build.pk]))
    return build


@transaction.atomic
def request_again(image_id: UUID, *, free: bool = False) -> Build:
    """A new attempt at what the current one was made of. Raises UnderWay or ContextGone.

    Nobody is charged for one that is `free`.
    """
    return _again(Target.objects.select_for_update().get(pk=image_id), free=free)


@transaction.atomic
def request_retry(build: Build) -> Build:
    """A new attempt, free of charge, after this one. Raises also Superseded."""
    target = Target.objects.select_for_update().filter(pk=build.image_id).first()
    if target is None or target.current_id != build.pk:
        raise Superseded
    return _again(target, free=True)


def _again(target: Target, *, free: bool) -> Build:
    last = target.current
    if last is None or last.state not in FINAL:
        raise UnderWay
    if not last.context_key:
        raise ContextGone
    build = last.again(restarts=0, free=free)
    build.save(force_insert=True)
    target.current = build
    target.save(update_fields=["current"])
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
    """Cancels what runs and lets nothing stay: tag, context, log."""
    Target.objects.select_for_update().filter(pk=image_id).first()
    Target.objects.filter(pk=image_id).delete()
    Build.objects.filter(image_id=image_id, discarded_at=None).update(discarded_at=timezone.now())
    unended = [Status.QUEUED, *RUNNING]
    for build in Build.objects.filter(image_id=image_id, status__in=unended):
        request_cancel(build)
    _on_commit(partial(actors.remove_image.send, image_id=str(image_id)))


def resend_queued() -> int:
    """Sends every queued build: for a queue that lives in the process and has just begun."""
    queued = Build.objects.filter(status=Status.QUEUED).order_by("queued_at", "id")
    ids = list(queued.values_list("pk", flat=True))
    actors.send_builds(ids)
    return len(ids)


def _on_commit(send: Callable[[], object]) -> None:
    transaction.on_commit(send, robust=True)
