"""What a list may be narrowed by."""

from typing import Any

import django_filters

from images.forms import QueryBool, QueryInt
from images.models import Image, ImageQuerySet

DEFAULT_LIMIT = 25
MOST = 100


class BoolFilter(django_filters.Filter):
    field_class = QueryBool


class IntFilter(django_filters.Filter):
    field_class = QueryInt


class ImageFilter(django_filters.FilterSet):
    """Fields in the order in which a 422 names them; `page` and `limit` are only checked here."""

    include_public = BoolFilter(method="widen")
    name = django_filters.CharFilter(lookup_expr="icontains")
    tag = django_filters.CharFilter(lookup_expr="icontains")
    page = IntFilter(method="leave", default=0, least=0, most=10_000_000)
    limit = IntFilter(method="leave", default=DEFAULT_LIMIT, least=0, most=MOST)

    class Meta:
        model = Image
        fields: list[str] = []

    def filter_queryset(self, queryset: ImageQuerySet) -> ImageQuerySet:
        if not self.form.cleaned_data["include_public"]:
            queryset = queryset.owned_by(self.request.user)
        found: ImageQuerySet = super().filter_queryset(queryset)
        return found

    def widen(self, queryset: ImageQuerySet, _name: str, _value: Any) -> ImageQuerySet:
        return queryset

    leave = widen
