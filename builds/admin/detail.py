"""Context of the admin's detail page of a build."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from builds.admin.actions import BUILDS
from builds.admin.failure_hints import HINTS
from builds.models import Build, Worker, targets
from builds.queue.status import QueueView
from builds.resource_classes import size_of
from builds.status import FINAL, RUNNING, Status, state_word
from builds.timeline import timeline
from common.humanize import took

ATTEMPTS = 25


def detail(request: HttpRequest, build: Build) -> dict[str, Any]:
    build.refresh_from_db(fields=["dockerfile", "build_args", "labels"])  # not loaded by lists
    target = targets().filter(pk=build.image_id).first()
    running = build.state in RUNNING
    sees_images = request.user.has_perm("images.view_image")
    of_image = target is not None and build.queued_at >= target.created_at
    others = Build.objects.light().filter(image_id=build.image_id, owner_id=build.owner_id)
    left = (build.lease_until - timezone.now()).total_seconds() if build.lease_until else None
    return {
        "build": build,
        "standing": {
            "word": state_word(build.state),
            "took": took(build),
            "doing": str(build.status) if build.state not in (Status.BUILDING, *FINAL) else "",
        },
        "lost": build.state is Status.LOST,
        "current": target is not None and target.current_id == build.pk,
        "good": None,
        "why": _why(build),
        "running": running,
        "lease": left,
        "worker": Worker.objects.with_silence().filter(pk=build.worker).first()
        if running
        else None,
        "hint": HINTS.get(build.failure_code, "") if build.state is Status.FAILED else "",
        # Lists of pairs: in a template, `labels.items` would look up a label named "items" first.
        "build_args": sorted(build.build_args.items()),
        "labels": sorted(build.labels.items()),
        "timeline": timeline(build),
        "size": size_of(build.resource_class),
        "others": [
            (each, state_word(each.state)) for each in others.order_by("-number")[:ATTEMPTS]
        ],
        "buttons": BUILDS.buttons(request.user, build),
        "image": {"pk": build.image_id, "repository": build.repository},
        "sees_images": sees_images and of_image,
        "log_there": sees_images and of_image and build.discarded_at is None,
        "title": str(build),
        "subtitle": None,
    }


def _why(build: Build) -> list[str]:
    if build.state is not Status.QUEUED:
        return []
    status = QueueView.now().of(build)
    told = [f"{status.text[:1].upper()}{status.text[1:]}."]
    for reason in status.reasons:
        told += [reason.text, *([reason.detail] if reason.detail else [])]
    return told
