"""The page at `/i/<image_id>`: one image, how its build stands, and the log."""

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
from images.models import Image
from images.progress import standing

DOTS = 24
"""The attempts that are shown to switch between."""


@require_safe
def show(request: HttpRequest, image_id: UUID) -> HttpResponse:
    image = Image.objects.with_build().visible_to(request.user).filter(pk=image_id).first()
    if image is None:
        return missing(request)
    attempts = list(image.attempts.light().order_by("-number")[:DOTS])[::-1]
    build = attempt_named(request, image) or image.build
    context = {
        "image": image,
        "build": build,
        "standing": standing(image, build),
        "current": build.pk == image.build.pk,
        "good": image.good,
        "attempts": [(each, state_word(each.state)) for each in attempts],
        "is_owner": request.user.pk == image.owner_id,
        "lost": build.state is Status.LOST,
        "tab": "readme" if request.GET.get("tab") == "readme" else "log",
        **_actions(image),
        **_addresses(image),
    }
    return render(request, "pages/image_detail.html", context)


@require_safe
def find(request: HttpRequest, ref: str) -> HttpResponse:
    """An image in any other spelling: on to its address, which is the same for ever."""
    visible = Image.objects.with_build().visible_to(request.user)
    image = visible.meant_by(ref, request.user, tagless=True)
    if image is None:
        return missing(request)
    return HttpResponseRedirect(reverse("image", args=[image.pk]))


def missing(request: HttpRequest) -> HttpResponse:
    """Not there and not yours look alike."""
    return render(request, "pages/missing.html", status=404)


def attempt_named(request: HttpRequest, image: Image) -> Build | None:
    """The attempt that the address asks for, if there is one."""
    number = request.GET.get("attempt", "")
    if not (number.isascii() and number.isdigit() and len(number) < 10):  # noqa: PLR2004
        return None
    return image.attempts.light().filter(number=int(number)).first()


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
