"""An owner's actions on the page: cancel, rebuild, delete, describe. Each makes one catalog
call."""

from collections.abc import Callable
from typing import cast
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.models import User
from builds.build_options import TEXT_CHARACTERS
from common.error_codes import CodedError
from images import catalog, logos, quota
from images.models import Image
from images.pages.forms import DescribeForm
from images.pages.image_detail import missing


@require_POST
def cancel(request: HttpRequest, image_id: UUID) -> HttpResponse:
    return _act(request, image_id, lambda image: _cancelled(request, image))


@require_POST
def rebuild(request: HttpRequest, image_id: UUID) -> HttpResponse:
    return _act(request, image_id, _rebuilt)


@require_POST
def delete(request: HttpRequest, image_id: UUID) -> HttpResponse:
    return _act(request, image_id, lambda image: _deleted(request, image))


@require_POST
def describe(request: HttpRequest, image_id: UUID) -> HttpResponse:
    return _act(request, image_id, lambda image: _described(request, image))


describe.body_limits = {"POST": logos.BYTES + 4 * TEXT_CHARACTERS}  # type: ignore[attr-defined]


def _act(request: HttpRequest, image_id: UUID, do: Callable[[Image], str]) -> HttpResponse:
    """Runs the action on one of the caller's images, then redirects to the page with the result."""
    if not request.user.is_authenticated:
        messages.error(request, "Your session has ended. Nothing was changed: sign in to go on.")
        page = reverse("image", args=[image_id])
        return HttpResponseRedirect(f"{reverse('sign-in')}?{urlencode({'next': page})}")
    own = Image.objects.with_build().owned_by(request.user)
    image = own.filter(pk=image_id).first()
    if image is None:
        return missing(request)
    try:
        return HttpResponseRedirect(do(image))
    except quota.QuotaExceeded as problem:
        minutes = -(-problem.retry_after // 60)
        messages.error(request, f"{problem} The next may start in {minutes} min.")
    except CodedError as problem:
        messages.error(request, f"{problem}.")
    except Image.DoesNotExist:
        return missing(request)
    return HttpResponseRedirect(reverse("image", args=[image_id]))


def _cancelled(request: HttpRequest, image: Image) -> str:
    catalog.cancel(image)
    messages.info(request, "The build is being cancelled.")
    return reverse("image", args=[image.pk])


def _rebuilt(image: Image) -> str:
    catalog.rebuild(image)
    return reverse("image", args=[image.pk])


def _deleted(request: HttpRequest, image: Image) -> str:
    catalog.delete(image)
    messages.info(request, f"{image} is deleted: its tag, its context and its logs go too.")
    return reverse("images")


def _described(request: HttpRequest, image: Image) -> str:
    page = f"{reverse('image', args=[image.pk])}?tab=settings"
    user = cast("User", request.user)
    form = DescribeForm(request.POST, request.FILES)
    if not form.is_valid():
        messages.error(request, " ".join(form.problems()))
        return page
    data = form.cleaned_data
    described = {"readme": data["readme"], "public": data["public"]}
    try:
        if data["logo"] is not None:
            described["logo"] = logos.add(owner=user, file=data["logo"])
        elif data["no_logo"]:
            described["logo"] = None
    except logos.NotALogo as problem:
        messages.error(request, f"The logo {problem}. Nothing was changed.")
        return page
    except logos.TooManyLogos:
        messages.error(request, f"You may only send {logos.MOST} logos per 24 hours.")
        return page
    catalog.change(image, by=user, **described)
    messages.info(request, "Saved.")
    return page
