"""Counting that stops: a list of millions needs to know that there are many, not how many.

For an admin class: `paginator = BoundedPaginator` and `show_full_result_count = False`.
"""

from functools import cached_property
from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet

BOUND = 10_000
"""Rows that are counted, and that a pager leads to. Filters and dates lead to those behind."""


class AtLeast(int):
    """A number that stands for itself or more, and says so where it is shown."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


def bounded_count(found: "QuerySet[Any]", bound: int = BOUND) -> int:
    """How many rows there are; `AtLeast(bound)` where there are more. Costs no more than those."""
    counted = found.order_by().values("pk")[: bound + 1].count()
    return AtLeast(bound) if counted > bound else counted


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
