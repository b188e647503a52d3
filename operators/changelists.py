"""Admin lists for millions of rows: a date hierarchy without table scans, and text filters."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import cached_property

from database.bounded_counts import BoundedPaginator


class BoundedChangeList(ChangeList):
    """A date hierarchy with all years, months and days from the oldest to the newest row.

    Some may have no rows. Django's own lists only those with rows, but reads the whole table.
    """

    def get_results(self, request: HttpRequest) -> None:
        """Read joined tables only for the rows shown, even if all rows are on one page."""
        super().get_results(request)
        if self.show_all or not self.multi_page:
            shown = min(self.result_count, self.list_max_show_all)
            self.result_list = self.paginator.rows.page(0, shown)

    @cached_property
    def dates(self) -> dict[str, Any] | None:
        """The choices of the date hierarchy, for the template `admin/date_hierarchy.html`."""
        asked = [self.params.get(f"{self.date_hierarchy}__{part}") for part in PARTS]
        chosen = [int(str(each)) for each in takewhile(bool, asked)]
        span = self._span()
        if span is None:
            return None
        first, last = span
        if not chosen and first.year == last.year:
            chosen = [first.year, first.month] if first.month == last.month else [first.year]
        if len(chosen) == len(PARTS):
            month = chosen[:2]
            return {
                "show": True,
                "back": {"link": self._link(*month), "title": _title(month)},
                "choices": [{"title": _title(chosen)}],
            }
        back = None
        if any(asked):
            title = _title(chosen[:-1]) if chosen[1:] else "All dates"
            back = {"link": self._link(*chosen[:-1]), "title": title}
        choices = [
            {"link": self._link(*each), "title": _title(each)}
            for each in _within(first, last, chosen)
        ]
        return {"show": True, "back": back, "choices": choices}

    def _span(self) -> tuple[date, date] | None:
        # Two index lookups: one query for both ends is a table scan in some databases.
        field = self.date_hierarchy
        rows = self.root_queryset.order_by()
        ends = [
            rows.order_by(by).values_list(field, flat=True).first() for by in (field, f"-{field}")
        ]
        if not (isinstance(ends[0], datetime) and isinstance(ends[1], datetime)):
            return None
        return timezone.localtime(ends[0]).date(), timezone.localtime(ends[1]).date()

    def _link(self, *chosen: int) -> str:
        params = {
            f"{self.date_hierarchy}__{part}": value
            for part, value in zip(PARTS, chosen, strict=False)
        }
        link: str = self.get_query_string(params, [f"{self.date_hierarchy}__"])
        return link


class BoundedAdmin(admin.ModelAdmin[Any]):
    """An admin whose list takes constant time for any number of rows."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 100
    list_max_show_all = 100
    searches = ""
    """Help text that says what the search field searches."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList


class TextFilter(admin.SimpleListFilter):
    """A list filter with a text field."""

    template = "admin/text_filter.html"
    source: tuple[str, str, str] | None = None
    """App, model and foreign key whose values are suggested to users who may view them."""
    hint = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        others = {
            name: values
            for name, values in changelist.filter_params.items()
            if name != self.parameter_name
        }
        yield {
            "value": self.value() or "",
            "others": [(name, value) for name, values in others.items() for value in values],
            "query_string": changelist.get_query_string(remove=[self.parameter_name or ""]),
        }

    def narrow(self, queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
        """Filter the queryset by the entered text. Implemented by subclasses."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").strip()
        return self.narrow(queryset, text) if text else queryset


PARTS = ("year", "month", "day")


def since(age: timedelta) -> datetime:
    return timezone.now() - age


def _within(first: date, last: date, chosen: list[int]) -> Iterator[tuple[int, ...]]:
    """The next choices: years, months of the chosen year, or days of the chosen month."""
    if not chosen:
        yield from ((year,) for year in range(first.year, last.year + 1))
        return
    if len(chosen) == 1:
        for month in range(1, 13):
            if (first.year, first.month) <= (chosen[0], month) <= (last.year, last.month):
                yield (chosen[0], month)
        return
    day = date(chosen[0], chosen[1], 1)
    while day.month == chosen[1]:
        if first <= day <= last:
            yield (day.year, day.month, day.day)
        day += timedelta(days=1)


def _title(chosen: Sequence[int]) -> str:
    """The title of a year, a month or a day."""
    match list(chosen):
        case [year]:
            return str(year)
        case [year, month]:
            return date_format(date(year, month, 1), "YEAR_MONTH_FORMAT")
        case _:
            return date_format(date(*chosen), "MONTH_DAY_FORMAT")
