"""Filters of lists, based on the fields of `api.fields`."""

from typing import Any

import django_filters
from django.db.models import QuerySet

from api.fields import QueryBool, QueryChoice, QueryChoices, QueryInt, QueryMoment, QueryText
from database.substring_lookups import part

DEFAULT_LIMIT = 25
MOST = 100
PAGE = QueryInt(default=0, least=0, most=10_000_000, help_text="The page, counted from 0.")
LIMIT = QueryInt(
    default=DEFAULT_LIMIT,
    least=0,
    most=MOST,
    help_text=f"Items on a page; 0 means {DEFAULT_LIMIT}.",
)


class TextFilter(django_filters.Filter):
    """A case-insensitive substring, without wildcards."""

    field_class = QueryText

    def filter(self, qs: "QuerySet[Any]", value: str) -> "QuerySet[Any]":
        return qs.filter(**part(self.field_name, value)) if value else qs


class BoolFilter(django_filters.Filter):
    field_class = QueryBool


class ChoiceFilter(django_filters.Filter):
    field_class = QueryChoice


class ChoicesFilter(django_filters.Filter):
    """Any of the given words."""

    field_class = QueryChoices

    def filter(self, qs: "QuerySet[Any]", value: tuple[str, ...]) -> "QuerySet[Any]":
        if len(value) == 1:
            return qs.filter(**{self.field_name: value[0]})
        return qs.filter(**{f"{self.field_name}__in": value}) if value else qs


class MomentFilter(django_filters.Filter):
    field_class = QueryMoment


class _Unfiltering(django_filters.Filter):
    """Validates a parameter with the filters, so that one 422 lists all errors. The pagination
    uses it."""

    field_class = QueryInt

    def filter(self, qs: "QuerySet[Any]", value: Any) -> "QuerySet[Any]":
        return qs


class PageNumber(_Unfiltering):
    def __init__(self) -> None:
        super().__init__(**_described(PAGE))


class PageLimit(_Unfiltering):
    def __init__(self) -> None:
        super().__init__(**_described(LIMIT))


def _described(field: QueryInt) -> dict[str, Any]:
    bounds = {"default": field.default, "least": field.least, "most": field.most}
    return {**bounds, "help_text": field.help_text}
