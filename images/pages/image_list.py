"""The page at `/`: the images that one may see, a line each."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import User
from builds.conf import build_settings
from builds.status import WORDS
from database.bounded_counts import BoundedPaginator
from images.filters import ImageFilter
from images.models import Image, ImageQuerySet
from images.progress import standings

PAGE = 50


@require_safe
def show(request: HttpRequest) -> HttpResponse:
    asked = {name: request.GET.get(name, "").strip() for name in ("name", "status", "whose")}
    found = _filtered(request, asked)
    page = BoundedPaginator(found, PAGE).get_page(request.GET.get("page"))
    images = list(page.object_list)
    known = standings(images)
    filtered = any(asked.values())
    context: dict[str, Any] = {
        "rows": [(image, known[image.pk]) for image in images],
        "page": page,
        "words": WORDS,
        "asked": asked,
        "filtered": filtered,
        "query": urlencode({name: value for name, value in asked.items() if value}),
        "registry": build_settings().registry,
        "address": request.build_absolute_uri("/").rstrip("/"),
        "live": page.number == 1,
    }
    return render(request, "pages/image_list.html", context)


def _filtered(request: HttpRequest, asked: dict[str, str]) -> ImageQuerySet:
    """What nobody can have meant is not narrowed by: a page is no place for a 422."""
    mine = asked["whose"] == "mine" and isinstance(request.user, User)
    data = {"name": asked["name"]}
    if asked["status"] in WORDS:
        data["status"] = asked["status"]
    if asked["whose"] == "public":
        data["public"] = "true"
    images = Image.objects.with_build().newest_first()
    listed = images.owned_by(request.user) if mine else images.visible_to(request.user)
    filters = ImageFilter(data, queryset=listed, request=request)
    found: ImageQuerySet = filters.qs if filters.is_valid() else listed
    return found
