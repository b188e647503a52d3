"""Counts that stop at a bound, so that lists of millions of rows stay fast.

For an admin class: `paginator = BoundedPaginator` and `show_full_result_count = False`.
"""

from functools import cached_property
from typing import Any, Generic, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet

BOUND = 5_000
"""Maximum number of rows that are counted and paged through. Filters and dates lead to later rows.
"""
FEW = 1_000
"""Up to this many rows, all primary keys are fetched at once. In larger sets, reading one page in
order is fast."""
M = TypeVar("M", bound=Model)


class AtLeast(int):
    """A lower bound of a count, formatted with a plus sign: `5,000+`."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


def bounded_count(found: "QuerySet[Any]", bound: int = BOUND) -> int:
    """The number of rows, or `AtLeast(bound)` if there are more. Reads at most `bound + 1` rows."""
    counted = found.order_by().values("pk")[: bound + 1].count()
    return AtLeast(bound) if counted > bound else counted


class Rows(Generic[M]):
    """An ordered queryset, read in pages whose cost does not grow with the size of the table."""

    def __init__(self, found: "QuerySet[M]") -> None:
        self.found = found

    def count(self) -> int:
        return self.found.count() if self._few is None else len(self._few)

    def count_to(self, bound: int) -> int:
        """Same as `bounded_count`, without a query if the keys are already known."""
        few = self._few
        return bounded_count(self.found, bound) if few is None or len(few) > bound else len(few)

    def page(self, start: int, stop: int) -> "QuerySet[M]":
        """Rows `start` to `stop` (exclusive). Relations are joined for these rows only."""
        if self._few is not None:
            return self.found.filter(pk__in=self._few)[start:stop]
        # Page over the primary keys first: an OFFSET over joins would join the skipped rows too.
        keys = list(self.found.values_list("pk", flat=True)[start:stop])
        return self.found.filter(pk__in=keys)

    @cached_property
    def _few(self) -> list[Any] | None:
        """All primary keys, unordered; None if there are more than `FEW`.

        To find a few matching rows through the index of the order, a database may scan all other
        rows.
        """
        keys = list(self.found.order_by().values_list("pk", flat=True)[: FEW + 1])
        return keys if len(keys) <= FEW else None


class BoundedPaginator(Paginator[Any]):
    """Pages of the first `BOUND` rows.

    If the count is an `AtLeast`, "select all" includes rows that were not counted. Admin classes
    with actions on all rows must limit those actions themselves.
    """

    bound = BOUND

    @cached_property
    def rows(self) -> Rows[Any] | None:
        """None if the list is not a queryset."""
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
