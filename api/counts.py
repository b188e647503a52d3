"""Counting that stops: a list of millions needs to know that there are many, not how many.

For an admin class: `paginator = BoundedPaginator` and `show_full_result_count = False`.
"""

from functools import cached_property
from typing import Any, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet

BOUND = 5_000
"""Rows that are counted, and that a pager leads to. Filters and dates lead to those behind."""


M = TypeVar("M", bound=Model)


class AtLeast(int):
    """A number that stands for itself or more, and says so where it is shown."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


def bounded_count(found: "QuerySet[Any]", bound: int = BOUND) -> int:
    """How many rows there are; `AtLeast(bound)` where there are more. Costs no more than those."""
    counted = found.order_by().values("pk")[: bound + 1].count()
    return AtLeast(bound) if counted > bound else counted


def page_of(found: "QuerySet[M]", start: int, stop: int) -> "QuerySet[M]":
    """Those rows of an ordered set, in its order; whatever is joined to them is read for them only.

    The rows before them are passed over in the index, where an OFFSET over joins would join them.
    """
    keys = list(found.values_list("pk", flat=True)[start:stop])
    return found.filter(pk__in=keys)


class BoundedPaginator(Paginator[Any]):
    """Pages of the first `BOUND` rows.

    An action on "all" of a list whose count is an `AtLeast` is about rows that nobody counted:
    admin classes that have such actions bound them on their own.
    """

    bound = BOUND

    @cached_property
    def count(self) -> int:
        found = self.object_list
        return bounded_count(found, self.bound) if isinstance(found, QuerySet) else len(found)

    def page(self, number: int | str) -> "Page[Any]":
        found = self.object_list
        if not isinstance(found, QuerySet):
            return super().page(number)
        number = self.validate_number(number)
        if not self.count:
            return Page(found.none(), number, self)
        start = (number - 1) * self.per_page
        stop = min(start + self.per_page, self.count)
        return Page(page_of(found, start, stop), number, self)
