"""Counting that stops: a list of millions needs to know that there are many, not how many.

For an admin class: `paginator = BoundedPaginator` and `show_full_result_count = False`.
"""

from functools import cached_property
from typing import Any, Generic, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet

BOUND = 5_000
"""Rows that are counted, and that a pager leads to. Filters and dates lead to those behind."""
FEW = 1_000
"""Rows that are taken all at once. Where there are more, a page of them is soon come by."""
M = TypeVar("M", bound=Model)


class AtLeast(int):
    """A number that stands for itself or more, and says so where it is shown."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


def bounded_count(found: "QuerySet[Any]", bound: int = BOUND) -> int:
    """How many rows there are; `AtLeast(bound)` where there are more. Costs no more than those."""
    counted = found.order_by().values("pk")[: bound + 1].count()
    return AtLeast(bound) if counted > bound else counted


class Rows(Generic[M]):
    """An ordered set of rows, read by pages at the same cost however many others there are."""

    def __init__(self, found: "QuerySet[M]") -> None:
        self.found = found

    def count(self) -> int:
        return self.found.count() if self._few is None else len(self._few)

    def count_to(self, bound: int) -> int:
        """As `bounded_count`."""
        few = self._few
        return bounded_count(self.found, bound) if few is None or len(few) > bound else len(few)

    def page(self, start: int, stop: int) -> "QuerySet[M]":
        """Those from the one to before the other; what is joined to rows is read for them only."""
        if self._few is not None:
            return self.found.filter(pk__in=self._few)[start:stop]
        # The rows before them are passed over in the index: an OFFSET over joins would join them.
        keys = list(self.found.values_list("pk", flat=True)[start:stop])
        return self.found.filter(pk__in=keys)

    @cached_property
    def _few(self) -> list[Any] | None:
        """The keys of all, in no order; None where they are more than a few.

        To come upon a few in the order's index, a database may pass by all the others.
        """
        keys = list(self.found.order_by().values_list("pk", flat=True)[: FEW + 1])
        return keys if len(keys) <= FEW else None


class BoundedPaginator(Paginator[Any]):
    """Pages of the first `BOUND` rows.

    An action on "all" of a list whose count is an `AtLeast` is about rows that nobody counted:
    admin classes that have such actions bound them on their own.
    """

    bound = BOUND

    @cached_property
    def rows(self) -> Rows[Any] | None:
        """None for a plain list."""
        return Rows(self.object_list) if isinstance(self.object_list, QuerySet) else None

    @cached_property
    def count(self) -> int:
        return len(self.object_list) if self.rows is None else self.rows.count_to(self.bound)

    def page(self, number: int | str) -> "Page[Any]":
        if self.rows is None:
            return super().page(number)
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        stop = min(start + self.per_page, self.count)
        return Page(self.rows.page(start, stop), number, self)
