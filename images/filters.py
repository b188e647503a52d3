"""What lists may be narrowed by, and in which order they come."""

from typing import Any

import django_filters

from api.filters import (
    BoolFilter,
    ChoiceFilter,
    MomentFilter,
    PageLimit,
    PageNumber,
    TextFilter,
)
from builds.models import Build
from builds.status import WORDS
from images.models import Image, ImageQuerySet

ORDERS = ("-created_at", "created_at", "name", "-name")


class ImageFilter(django_filters.FilterSet):
    """Fields in the order in which a 422 names them."""

    include_public = BoolFilter(method="widen", help_text="Others' public images too.")
    name = TextFilter(help_text="A part of the name.")
    tag = TextFilter(help_text="A part of the tag.")
    page = PageNumber()
    limit = PageLimit()
    status = ChoiceFilter("state", among=tuple(WORDS), help_text="Where the current build stands.")
    public = BoolFilter(help_text="Only public images, or only private ones.")
    created_after = MomentFilter("created_at", "gte", help_text="Made then or later.")
    created_before = MomentFilter("created_at", "lt", help_text="Made earlier than that.")
    ordering = ChoiceFilter(
        method="arrange", among=ORDERS, help_text="The newest come first unless this says else."
    )

    class Meta:
        model = Image
        fields: list[str] = []

    def filter_queryset(self, queryset: ImageQuerySet) -> ImageQuerySet:
        if not self.form.cleaned_data["include_public"]:
            # All of that is visible: to ask for both would keep databases from the owner's index.
            queryset = Image.objects.with_build().owned_by(self.request.user)
        found: ImageQuerySet = super().filter_queryset(queryset.newest_first())
        return found

    def widen(self, queryset: ImageQuerySet, _name: str, _value: Any) -> ImageQuerySet:
        return queryset

    def arrange(self, queryset: ImageQuerySet, _name: str, by: str) -> ImageQuerySet:
        return queryset.order_by(by, "-id" if by.startswith("-") else "id")


class BuildFilter(django_filters.FilterSet):
    page = PageNumber()
    limit = PageLimit()

    class Meta:
        model = Build
        fields: list[str] = []
