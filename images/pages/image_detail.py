"""The page `/i/<image_id>`: one image, the state of its build, and a tab with details."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from builds.conf import build_settings
from builds.models import Build
from builds.status import FINAL, Status, state_word
from images.models import Image, oversees
from images.pages.tabs import DETAILS
from images.progress import standing

DOTS = 24
"""Newest attempts, shown for switching."""
TABS: dict[str, str] = {
    "log": "Log",
    "steps": "Steps",
    "attempts": "Attempts",
    "image": "Image",
    "inputs": "Dockerfile",
    "readme": "Readme",
    "settings": "Settings",
}


@require_safe
def show(request: HttpRequest, image_id: UUID) -> HttpResponse:
    image = Image.objects.with_build().visible_to(request.user).filter(pk=image_id).first()
    if image is None:
        return missing(request)
    attempts = list(image.attempts.light().order_by("-number")[:DOTS])[::-1]
    build = attempt_named(request, image) or image.build
    is_owner = request.user.pk == image.owner_id
    tabs = _tabs(image, is_owner=is_owner, sees_inputs=is_owner or oversees(request.user))
    tab = request.GET.get("tab", "")
    tab = tab if tab in tabs else "log"
    current = build.pk == image.build.pk
    context = {
        "image": image,
        "build": build,
        "standing": standing(image, build),
        "current": current,
        "good": image.good,
        "attempts": [(each, state_word(each.state)) for each in attempts],
        "is_owner": is_owner,
        "lost": build.state is Status.LOST,
        "tab": tab,
        "tabs": [(name, label, _query(name, build, current)) for name, label in tabs.items()],
        "share": request.build_absolute_uri(
            f"{reverse('image', args=[image.pk])}?attempt={build.number}"
        ),
        **_actions(image),
        **_addresses(image),
    }
    if details := DETAILS.get(tab):
        context |= details(request, image, build)
    return render(request, "pages/image_detail.html", context)


@require_safe
def find(request: HttpRequest, ref: str) -> HttpResponse:
    """Redirects any other spelling of a reference to the permanent URL of the image."""
    visible = Image.objects.with_build().visible_to(request.user)
    image = visible.meant_by(ref, request.user, tagless=True)
    if image is None:
        return missing(request)
    return HttpResponseRedirect(reverse("image", args=[image.pk]))


def missing(request: HttpRequest) -> HttpResponse:
    """The same answer for images that do not exist and for images of others."""
    return render(request, "pages/missing.html", status=404)


def attempt_named(request: HttpRequest, image: Image) -> Build | None:
    """The attempt that the URL names, if it exists."""
    return image.attempt(request.GET.get("attempt", ""))


def _actions(image: Image) -> dict[str, Any]:
    ended = image.build.state in FINAL
    return {
        "can_cancel": not ended and image.build.state is not Status.CANCELLING,
        "can_rebuild": ended and bool(image.build.context_key),
        "can_delete": not image.protected,
    }


def _addresses(image: Image) -> dict[str, str]:
    registry = build_settings().registry
    reference = f"{image.repository}:{image.tag}"
    return {"pull": f"docker pull {registry}/{reference}", "public_url": settings.PUBLIC_URL}


def _tabs(image: Image, *, is_owner: bool, sees_inputs: bool) -> dict[str, str]:
    """Dockerfiles and build arguments may contain secrets, so not every reader sees them."""
    without = set() if sees_inputs else {"inputs"}
    if not is_owner:
        without.add("settings")
    if not image.readme:
        without.add("readme")
    if not image.good:
        without.add("image")
    return {name: label for name, label in TABS.items() if name not in without}


def _query(tab: str, build: Build, current: bool) -> str:
    parts = [] if tab == "log" else [f"tab={tab}"]
    if not current:
        parts.append(f"attempt={build.number}")
    return "&".join(parts)
