"""The page `/`: a list of the images that the user may see."""

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
SORTS = {"name": "name", "took": "duration", "size": "size", "made": "created_at"}
"""Words in the URL, with the values of `ImageFilter.ordering`."""
HEADS = (
    ("Status", ""),
    ("Name", "name"),
    ("What it does", "took"),
    ("Size", "size"),
    ("", ""),
    ("Made", "made"),
)
"""Columns of the list, with the word in the URL that sorts by each."""
DESCENDING = frozenset({"took", "size", "made"})
"""Columns that are sorted with the largest first."""


@require_safe
def show(request: HttpRequest) -> HttpResponse:
    asked = {name: request.GET.get(name, "").strip() for name in ("name", "status", "whose")}
    found = _filtered(request, asked)
    page = BoundedPaginator(found, PAGE).get_page(request.GET.get("page"))
    images = list(page.object_list)
    known = standings(images)
    filtered = any(asked.values())
    sort = _sort(request)
    if sort:
        asked["sort"] = sort
    context: dict[str, Any] = {
        "rows": [(image, known[image.pk]) for image in images],
        "page": page,
        "words": WORDS,
        "asked": asked,
        "filtered": filtered,
        "query": urlencode({name: value for name, value in asked.items() if value}),
        "registry": build_settings().registry,
        "address": request.build_absolute_uri("/").rstrip("/"),
        "heads": _heads(asked, sort),
        "live": page.number == 1 and not sort,
    }
    return render(request, "pages/image_list.html", context)


def _filtered(request: HttpRequest, asked: dict[str, str]) -> ImageQuerySet:
    """Ignores invalid values of filters: a page does not answer 422."""
    mine = asked["whose"] == "mine" and isinstance(request.user, User)
    data = {"name": asked["name"]}
    if asked["status"] in WORDS:
        data["status"] = asked["status"]
    if asked["whose"] == "public":
        data["public"] = "true"
    images = Image.objects.with_build().newest_first()
    listed = images.owned_by(request.user) if mine else images.visible_to(request.user)
    if sort := _sort(request):
        data["ordering"] = f"{'-' * sort.startswith('-')}{SORTS[sort.removeprefix('-')]}"
    filters = ImageFilter(data, queryset=listed, request=request)
    found: ImageQuerySet = filters.qs if filters.is_valid() else listed
    return found


def _sort(request: HttpRequest) -> str:
    """The sort order from the URL; empty for the newest first."""
    asked = request.GET.get("sort", "")
    return asked if asked.removeprefix("-") in SORTS and asked != "-made" else ""


def _heads(asked: dict[str, str], sort: str) -> list[tuple[str, str, str]]:
    """Label, URL and arrow of each column; a second click reverses the order."""
    filters = {name: value for name, value in asked.items() if value and name != "sort"}
    shown = sort or "-made"
    found = []
    for label, word in HEADS:
        first = f"-{word}" if word in DESCENDING else word
        other = first.removeprefix("-") if first.startswith("-") else f"-{first}"
        query = urlencode({**filters, "sort": other if shown == first else first})
        arrow = "" if shown.removeprefix("-") != word else "↓" if shown.startswith("-") else "↑"
        found.append((label, f"?{query}" if word else "", arrow))
    return found
