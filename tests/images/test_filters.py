from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from builds.models import Build
from images.filters import ORDERS, WORDS
from images.models import Image
from tests.conftest import stand
from tests.images.conftest import Send
from tests.images.rest.test_read import names

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def hourly(send: Send) -> None:
    """a, b and c, made at eleven, at noon and at one."""
    for hour, name in enumerate(["app-b", "app-a", "app-c"], -1):
        send(name=name, public=str(name == "app-b"))
        made = NOON + timedelta(hours=hour)
        Image.objects.filter(name=name).update(created_at=made)


@pytest.mark.parametrize("word", WORDS)
def test_images_are_found_by_where_their_build_stands(
    api: APIClient, send: Send, word: str
) -> None:
    for tag in ("other", "found"):
        send(tag=tag)
    other = "succeeded" if word != "succeeded" else "failed"
    for status in WORDS[word]:
        stand(Build.objects.filter(label__endswith=":other"), other)
        stand(Build.objects.filter(label__endswith=":found"), status)
        assert names(api.get("/images/", {"status": word})) == ["my-app:found"]


def test_images_are_found_by_being_public(api: APIClient, hourly: None) -> None:
    assert names(api.get("/images/", {"public": "yes"})) == ["app-b:1.0"]
    assert names(api.get("/images/", {"public": "false"})) == ["app-c:1.0", "app-a:1.0"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"created_after": "2026-11-23T12:00:00Z"}, "c a"),
        ({"created_after": "2026-11-23T12:00:00.000001Z"}, "c"),
        ({"created_before": "2026-11-23T12:00:00Z"}, "b"),
        ({"created_before": "2026-11-23T14:00:00+02:00"}, "b"),
        ({"created_after": "2026-11-23 11:30", "created_before": "2026-11-23T12:30"}, "a"),
        ({"created_before": "2026-11-23"}, ""),
    ],
)
def test_images_are_found_by_when_they_were_made(
    api: APIClient, hourly: None, query: dict[str, str], found: str
) -> None:
    assert names(api.get("/images/", query)) == [f"app-{each}:1.0" for each in found.split()]


@pytest.mark.parametrize(
    ("ordering", "found"),
    [("created_at", "b a c"), ("-created_at", "c a b"), ("name", "a b c"), ("-name", "c b a")],
)
def test_images_come_in_the_order_that_was_asked_for(
    api: APIClient, hourly: None, ordering: str, found: str
) -> None:
    answer = api.get("/images/", {"ordering": ordering})
    assert names(answer) == [f"app-{each}:1.0" for each in found.split()]


@pytest.mark.parametrize("ordering", ORDERS)
def test_pages_of_equals_show_each_once(api: APIClient, send: Send, ordering: str) -> None:
    for n in range(4):
        send(tag=f"t{n}")
    Image.objects.update(created_at=NOON)
    pages = [
        api.get("/images/", {"ordering": ordering, "limit": "1", "page": str(n)}) for n in range(4)
    ]
    assert len({tuple(names(page)) for page in pages}) == 4


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ({"status": "pushing"}, "enum"),
        ({"status": ""}, "enum"),
        ({"public": "2"}, "bool_parsing"),
        ({"created_after": "yesterday"}, "datetime_parsing"),
        ({"created_before": "0001-01-01T00:00:00+05:00"}, "datetime_parsing"),
        ({"ordering": "id"}, "enum"),
        ({"name": "a\0b"}, "null_characters_not_allowed"),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(
    api: APIClient, query: dict[str, str], kind: str
) -> None:
    answer = api.get("/images/", query)
    assert answer.status_code == 422
    [entry] = answer.json()["detail"]
    assert ([*query], entry["type"]) == ([entry["loc"][1]], kind)


def test_all_wrong_filters_are_named_together_in_order(api: APIClient) -> None:
    wrong: dict[str, Any] = {"ordering": "x", "status": "x", "limit": "x", "include_public": "x"}
    answer = api.get("/images/", wrong)
    named = [entry["loc"][1] for entry in answer.json()["detail"]]
    assert named == ["include_public", "limit", "status", "ordering"]


def test_every_filter_together_takes_a_constant_number_of_queries(
    api: APIClient, hourly: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    api.get("/images/")
    everything = {
        "include_public": "true",
        "name": "app",
        "tag": "1",
        "status": "queued",
        "created_after": "2026-01-01T00:00:00Z",
        "created_before": "2027-01-01T00:00:00Z",
        "ordering": "name",
    }
    with django_assert_num_queries(5):
        assert len(names(api.get("/images/", {**everything, "limit": "3"}))) == 3
