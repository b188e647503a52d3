from typing import Any

import pytest
from django.core.paginator import EmptyPage
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from database import bounded_counts
from database.bounded_counts import AtLeast, BoundedPaginator, bounded_count

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(db: None) -> Any:
    User.objects.bulk_create(User(username=f"person-{number}") for number in range(7))
    return User.objects.order_by("username")


def test_what_is_within_the_bound_is_counted(people: Any) -> None:
    for bound in (7, 8):
        found = bounded_count(people, bound)
        assert found == 7
        assert str(found) == "7"


def test_what_is_beyond_it_is_told_as_more(people: Any) -> None:
    found = bounded_count(people, 6)
    assert (int(found), str(found)) == (6, "6+")
    assert Template("{{ found }} people").render(Context({"found": found})) == "6+ people"
    assert str(AtLeast(10_000)) == "10,000+"


def test_no_more_rows_are_read_than_the_bound(people: Any, django_assert_num_queries: Any) -> None:
    seen: CaptureQueriesContext
    with django_assert_num_queries(1) as seen:
        bounded_count(people.select_related(), 3)
    (query,) = seen.captured_queries
    assert "LIMIT 4" in query["sql"]
    assert "ORDER BY" not in query["sql"]


@pytest.mark.parametrize("few", [0, 3, 4, 5, 7])
def test_pages_lead_to_the_bound_and_no_further(
    people: Any, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(bounded_counts, "FEW", few)
    monkeypatch.setattr(BoundedPaginator, "bound", 4)
    pages = BoundedPaginator(people, 2)
    assert (pages.num_pages, str(pages.count)) == (2, "4+")
    assert [each.username for each in pages.page(2)] == ["person-2", "person-3"]
    with pytest.raises(EmptyPage):
        pages.page(3)


@pytest.mark.parametrize("few", [0, 6, 7])
def test_few_rows_are_found_without_the_order_and_shown_in_it(
    people: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
    few: int,
) -> None:
    monkeypatch.setattr(bounded_counts, "FEW", few)
    seen: CaptureQueriesContext
    with django_assert_num_queries(2 if few == 7 else 4) as seen:
        pages = BoundedPaginator(people, 3)
        shown = [each.username for each in pages.page(2)]
    assert shown == ["person-3", "person-4", "person-5"]
    assert f"LIMIT {few + 1}" in seen.captured_queries[0]["sql"]
    assert "ORDER BY" not in seen.captured_queries[0]["sql"]


def test_a_plain_list_is_paged_too() -> None:
    assert BoundedPaginator([1, 2, 3], 2).count == 3
