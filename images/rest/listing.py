"""Sorted lists, by page number or by cursor."""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.conf import settings
from django.db.models import QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from rest_framework.request import Request

from accounts.models import User
from api.exceptions import Invalid
from api.filters import DEFAULT_LIMIT
from api.views import narrowed
from database.bounded_counts import FEW
from database.prepared_queries import Row
from database.substring_lookups import LowerIs
from images.filters import COLUMNS, ImageFilter
from images.list_totals import total_of
from images.models import Image, ImageQuerySet
from images.rest import rows

NEWEST = "-created_at"
MOST_NUMBER = 2**63
NAME_CHARACTERS = 65


class Order(NamedTuple):
    """A sort order in which no two rows are equal: by a column, then by the id."""

    word: str

    @property
    def descending(self) -> bool:
        return self.word.startswith("-")

    @property
    def column(self) -> str:
        return COLUMNS[self.word.removeprefix("-")]

    @property
    def fields(self) -> tuple[str, str]:
        sign = "-" if self.descending else ""
        return f"{sign}{self.column}", f"{sign}id"


class Cursor(NamedTuple):
    """The last row of a page. The rows after it do not depend on rows that are added or deleted."""

    order: Order
    value: Any
    key: UUID

    @classmethod
    def of(cls, order: Order, row: Row) -> Self:
        """From the values of rows.COLUMNS."""
        return cls(order, row[rows.COLUMNS.index(order.column)], row[0])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a cursor. Raises Invalid."""
        try:
            data = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
            word, value, key = orjson.loads(data)
            order = Order(word)
            return cls(order, _value(order.column, value), UUID(key))
        except (ValueError, TypeError, LookupError, AttributeError, binascii.Error) as problem:
            text = "This is no cursor of this list: take it from `Link`"
            raise Invalid("cursor_parsing", text, "query", "cursor") from problem

    def __str__(self) -> str:
        data = orjson.dumps([self.order.word, self.value, self.key])
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def after(self, images: "QuerySet[Any]") -> "QuerySet[Any]":
        """The rows after this one. A comparison of pairs lets an index start in its middle."""
        follows = TupleLessThan if self.order.descending else TupleGreaterThan
        return images.filter(follows(Tuple(self.order.column, "id"), (self.value, self.key)))


def _value(column: str, value: Any) -> Any:
    """Raises ValueError if the text is not a value of this column."""
    if column == "name" and isinstance(value, str) and "\0" not in value:
        if len(value) <= NAME_CHARACTERS:
            return value
    elif column in ("created_at", "ended_at") and isinstance(value, str):
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            return found
    elif column in ("good_bytes", "good_ms") and type(value) is int and 0 <= value < MOST_NUMBER:
        return value
    raise ValueError(f"no value of {column}: {value!r}")


def keys(images: "list[QuerySet[Any]]", order: Order, start: int, stop: int) -> list[UUID]:
    """The keys of a page from several disjoint sets, as one sorted list.

    Each set is read by its own index and merged here, because databases sort a union completely.
    For pages far back and for sorting by name, the database sorts, because only it knows the order
    of names.
    """
    found = [each.order_by(*order.fields).values_list(order.column, "pk") for each in images]
    if len(found) == 1:
        return [key for _, key in found[0][start:stop]]
    if order.column != "name" and stop <= FEW:
        both = [each for rows_of_one in found for each in rows_of_one[:stop]]
        return [key for _, key in sorted(both, reverse=order.descending)[start:stop]]
    first, *others = (each.order_by() for each in found)
    union = first.union(*others, all=True).order_by(*order.fields)
    return [key for _, key in union[start:stop]]


def link_to_next(request: Request, cursor: Cursor) -> str:
    """The value of `Link`: the same list from the cursor on."""
    kept = [
        (name, value)
        for name, values in request.query_params.lists()
        if name not in ("page", "cursor")
        for value in values
    ]
    query = urlencode([*kept, ("cursor", str(cursor))])
    return f'<{settings.PUBLIC_URL}{request.path}?{query}>; rel="next"'


class Listing(NamedTuple):
    """A page of rows, the number of rows on all pages, and the start of the next page."""

    rows: list[Row]
    total: int
    following: Cursor | None


def listing(viewer: User, asked: Mapping[str, Any]) -> Listing:
    """The page that the query string requests. Raises Invalid."""
    cursor = _cursor(asked)
    order = cursor.order if cursor else Order(asked["ordering"] or NEWEST)
    size = asked["limit"] or DEFAULT_LIMIT
    start = asked["page"] * size
    plain = not asked["owner"] and not ImageFilter.narrows(asked)
    if plain and cursor is None:
        page = rows.visible_page if asked["include_public"] else rows.own_page
        found, total = page(viewer, start, size)
        more = start + size < total
    else:
        narrow = partial(narrowed, ImageFilter, asked=asked)
        sets = [narrow(each) for each in _sets(viewer, asked)]
        total = _total(viewer, asked, narrow, plain=plain)
        if total <= FEW:
            # To find a few rows by the index of the order, a database may read all others.
            few = [pk for each in sets for pk in each.order_by().values_list("pk", flat=True)]
            sets = [Image.objects.filter(pk__in=few)]
        if cursor is not None:
            sets, start = [cursor.after(each) for each in sets], 0
        ids = keys(sets, order, start, start + size + 1) if start < total else []
        found, more = rows.of_keys(ids[:size]), len(ids) > size
    return Listing(found, total, Cursor.of(order, found[-1]) if more and found else None)


def _cursor(asked: Mapping[str, Any]) -> Cursor | None:
    """Raises Invalid."""
    if not asked["cursor"]:
        return None
    cursor = Cursor.parse(asked["cursor"])
    if asked["page"]:
        raise Invalid("value_error", "A cursor takes the place of a page", "query", "page")
    if asked["ordering"] not in (None, cursor.order.word):
        text = f"The cursor is of a list by {cursor.order.word}"
        raise Invalid("value_error", text, "query", "ordering")
    return cursor


def _sets(viewer: User, asked: Mapping[str, Any]) -> list[ImageQuerySet]:
    """The images that may be listed, as disjoint sets that each have an index."""
    if asked["owner"]:
        owner = User.objects.filter(LowerIs("username", asked["owner"])).first()
        if owner == viewer:
            return [Image.objects.owned_by(viewer)]
        return [Image.objects.filter(owner=owner, public=True) if owner else Image.objects.none()]
    if asked["include_public"]:
        private = Image.objects.owned_by(viewer).filter(public=False)
        return [Image.objects.filter(public=True), private]
    return [Image.objects.owned_by(viewer)]


def _total(viewer: User, asked: Mapping[str, Any], narrow: Any, *, plain: bool) -> int:
    if plain:
        known = rows.VISIBLE_TOTAL if asked["include_public"] else rows.OWN_TOTAL
        return int(known.rows(viewer.pk)[0][0])
    if asked["owner"]:
        return sum(narrow(each).count() for each in _sets(viewer, asked))
    seen = Image.objects.visible_to if asked["include_public"] else Image.objects.owned_by
    return total_of(viewer.pk, asked, narrow, narrow(seen(viewer)))
