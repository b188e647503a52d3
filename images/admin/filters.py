"""The filters of the image list in the admin."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import User
from builds.status import WORDS
from images.models import ImageQuerySet
from operators.changelists import TextFilter, since

AGES = {
    "hour": ("The last hour", timedelta(hours=1)),
    "day": ("The last day", timedelta(days=1)),
    "week": ("The last week", timedelta(days=7)),
    "month": ("The last 30 days", timedelta(days=30)),
}
OLDER = "older"
MEGABYTE = 1_000_000
SIZES: dict[str, tuple[str, int, int | None]] = {
    "small": ("Up to 100 MB", 0, 100 * MEGABYTE),
    "medium": ("100 MB to 1 GB", 100 * MEGABYTE, 1_000 * MEGABYTE),
    "large": ("1 GB to 5 GB", 1_000 * MEGABYTE, 5_000 * MEGABYTE),
    "huge": ("5 GB and more", 5_000 * MEGABYTE, None),
}
NOTHING = "none"


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, word.capitalize()) for word in WORDS]

    def queryset(self, request: HttpRequest, queryset: ImageQuerySet) -> ImageQuerySet:  # type: ignore[override]
        return queryset.filter(state=self.value()) if self.value() in WORDS else queryset


class OwnerFilter(TextFilter):
    """Filters by the owner's name. The query uses the id, for the index on the owner."""

    title = "owner"
    parameter_name = "owner"
    hint = "A user's whole name"
    source = ("images", "image", "owner")

    def narrow(self, queryset: ImageQuerySet, text: str) -> ImageQuerySet:  # type: ignore[override]
        owner = User.objects.filter(username__iexact=text).values_list("pk", flat=True).first()
        return queryset.filter(owner_id=owner) if owner else queryset.none()


class AgeFilter(admin.SimpleListFilter):
    title = "age"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((name, label) for name, (label, _) in AGES.items()), (OLDER, "Older")]

    def queryset(self, request: HttpRequest, queryset: ImageQuerySet) -> ImageQuerySet:  # type: ignore[override]
        value = self.value() or ""
        if value == OLDER:
            return queryset.filter(created_at__lt=since(AGES["month"][1]))
        if value in AGES:
            return queryset.filter(created_at__gte=since(AGES[value][1]))
        return queryset


class SizeFilter(admin.SimpleListFilter):
    title = "size"
    parameter_name = "size"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((name, label) for name, (label, *_) in SIZES.items()), (NOTHING, "Never pushed")]

    def queryset(self, request: HttpRequest, queryset: ImageQuerySet) -> ImageQuerySet:  # type: ignore[override]
        value = self.value() or ""
        if value == NOTHING:
            return queryset.filter(good=None)
        if value not in SIZES:
            return queryset
        _, least, most = SIZES[value]
        within = Q(good__image_bytes__gte=least)
        if most is not None:
            within &= Q(good__image_bytes__lt=most)
        return queryset.filter(within)
