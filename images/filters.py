"""The filters and the sort orders of lists."""

from collections.abc import Mapping
from typing import Any

import django_filters

from api.filters import (
    BoolFilter,
    ChoiceFilter,
    ChoicesFilter,
    MomentFilter,
    PageLimit,
    PageNumber,
    TextFilter,
)
from builds.models import Build
from builds.status import WORDS
from images.models import Image, ImageQuerySet

COLUMNS = {
    "created_at": "created_at",
    "name": "name",
    "ended_at": "ended_at",
    "size": "good_bytes",
    "duration": "good_ms",
}
"""Columns for the values of `ordering`. Each has indexes that end in the id."""
ORDERS = tuple(f"{sign}{word}" for word in COLUMNS for sign in ("-", ""))
WHOLE = frozenset({"include_public", "page", "limit", "owner", "cursor"})
"""Parameters that select the images and the page. All other parameters are filters."""


class ImageFilter(django_filters.FilterSet):
    """The order of the fields is that of the errors in a 422."""

    include_public = BoolFilter(method="widen", help_text="Others' public images too.")
    name = TextFilter(help_text="A part of the name.")
    tag = TextFilter(help_text="A part of the tag.")
    page = PageNumber()
    limit = PageLimit()
    status = ChoicesFilter(
        "state",
        among=tuple(WORDS),
        help_text="Where the current build stands; several by commas, or sent several times.",
    )
    public = BoolFilter(help_text="Only public images, or only private ones.")
    created_after = MomentFilter("created_at", "gte", help_text="Made then or later.")
    created_before = MomentFilter("created_at", "lt", help_text="Made earlier than that.")
    pullable = BoolFilter(
        "good",
        method="find_pullable",
        help_text="Only images with a build that succeeded, or none.",
    )
    ordering = ChoiceFilter(
        method="arrange",
        among=ORDERS,
        help_text="The newest come first unless this says else. `size` and `duration` are of the "
        "last build that succeeded, `ended_at` is when any last ended.",
    )
    owner = TextFilter(
        method="widen", help_text="Only images of the user of this name: the caller's, or public."
    )
    cursor = TextFilter(
        method="widen",
        help_text="Where a page ended, from `Link` of its answer: the next one starts there.",
    )

    class Meta:
        model = Image
        fields: list[str] = []

    @classmethod
    def narrows(cls, asked: Mapping[str, Any]) -> bool:
        """Whether any parameter leaves images out or changes their order."""
        return any(
            value not in (None, "", ()) for name, value in asked.items() if name not in WHOLE
        )

    def widen(self, queryset: ImageQuerySet, _name: str, _value: Any) -> ImageQuerySet:
        """Does nothing: the view selects the images that are filtered here."""
        return queryset

    def find_pullable(
        self, queryset: ImageQuerySet, _name: str, value: bool | None
    ) -> ImageQuerySet:
        return queryset if value is None else queryset.filter(good__isnull=not value)

    def arrange(self, queryset: ImageQuerySet, _name: str, by: str) -> ImageQuerySet:
        if queryset.model is not Image:  # the journal of changes, whose rows are only summed
            return queryset
        sign = "-" if by.startswith("-") else ""
        return queryset.order_by(f"{sign}{COLUMNS[by.removeprefix('-')]}", f"{sign}id")


class BuildFilter(django_filters.FilterSet):
    page = PageNumber()
    limit = PageLimit()

    class Meta:
        model = Build
        fields: list[str] = []
