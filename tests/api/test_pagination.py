"""What a list of the API tells beside its rows, however many there are."""

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from accounts.models import User
from api.pagination import Pages
from database import bounded_counts

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(db: None) -> Any:
    User.objects.bulk_create(User(username=f"person-{number}") for number in range(7))
    return User.objects.order_by("username")


def page(found: Any, number: int, limit: int) -> tuple[list[str], int]:
    query = {"page": str(number), "limit": str(limit)}
    pages = Pages()
    rows = pages.paginate_queryset(found, Request(APIRequestFactory().get("/", query)))
    return [each.username[-1] for each in rows], pages.total


def test_the_total_is_that_of_all_pages_on_each_of_them(people: Any) -> None:
    assert page(people, 0, 3) == (["0", "1", "2"], 7)
    assert page(people, 1, 3) == (["3", "4", "5"], 7)
    assert page(people, 2, 3) == (["6"], 7)
    assert page(people, 3, 3) == ([], 7)


@pytest.mark.parametrize(("few", "queries"), [(7, 2), (6, 4), (0, 4)])
def test_few_rows_and_many_are_paged_alike_in_few_queries(
    people: Any,
    django_assert_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
    few: int,
    queries: int,
) -> None:
    monkeypatch.setattr(bounded_counts, "FEW", few)
    with django_assert_num_queries(queries):
        assert page(people, 0, 10)[1] == 7
    assert page(people, 1, 3) == (["3", "4", "5"], 7)
    with django_assert_num_queries(1):
        assert page(people.filter(username="none"), 0, 10) == ([], 0)


def test_a_list_in_memory_is_paged_alike(people: Any) -> None:
    assert page(list(people), 1, 4) == (["4", "5", "6"], 7)
