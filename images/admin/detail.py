"""Collects what the admin page of one image shows."""

from typing import Any

from django.http import HttpRequest

from builds.conf import build_settings
from builds.status import Status, state_word
from builds.timeline import timeline
from images.admin.actions import IMAGES
from images.models import Image
from images.progress import standing

ATTEMPTS = 25
"""The newest attempts, which are listed. The list of builds has all."""


def detail(request: HttpRequest, image: Image) -> dict[str, Any]:
    attempts = list(image.attempts.light().order_by("-number")[:ATTEMPTS])
    build = image.attempt(request.GET.get("attempt", "")) or image.build
    registry = build_settings().registry
    return {
        "image": image,
        "build": build,
        "standing": standing(image, build),
        "current": build.pk == image.build.pk,
        "good": image.good,
        "attempts": [(each, state_word(each.state)) for each in attempts],
        "timeline": timeline(build),
        "lost": build.state is Status.LOST,
        "pull": f"docker pull {registry}/{image.repository}:{image.tag}",
        "buttons": IMAGES.buttons(request.user, image),
        "sees_builds": request.user.has_perm("builds.view_build"),
        "title": str(image),
        "subtitle": None,
    }
