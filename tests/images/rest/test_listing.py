"""Lists by cursors, owners, several statuses, and by size, duration and end."""

import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from builds.status import Status
from images.filters import ORDERS
from images.models import Image
from tests.images.conftest import client_of
from tests.images.rest.test_rows import made

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(owner: User) -> APIClient:
    return client_of(owner)


@pytest.fixture
def images(owner: User, stranger: User) -> list[Image]:
    """Nine of the owner's, of which some are equal in what they are sorted by, and others'."""
    found = [made(owner, f"app-{n}") for n in range(9)]
    found += [made(stranger, f"open-{n}") for n in range(3)] + [made(stranger, "hidden")]
    now = timezone.now()
    for n, image in enumerate(found):
        Image.objects.filter(pk=image.pk).update(
            public=image.name.startswith("open") or n == 1,
            good_bytes=n % 3,
            good_ms=n % 4,
            ended_at=now - timedelta(seconds=n % 5),
            created_at=now - timedelta(seconds=n // 2),
        )
    return found


def next_of(answer: Any) -> dict[str, Any] | None:
    """The query of the next page, which `Link` has."""
    assert answer.status_code == 200, answer.content
    if "Link" not in answer.headers:
        return None
    address, relation = answer.headers["Link"].split("; ")
    assert relation == 'rel="next"'
    parts = urlsplit(address.strip("<>"))
    assert f"{parts.scheme}://{parts.netloc}" == settings.PUBLIC_URL
    assert parts.path == "/images/"
    return parse_qs(parts.query)


def walk(api: APIClient, **query: Any) -> list[Any]:
    """The items of all pages, from one to the next."""
    items: list[Any] = []
    following: dict[str, Any] | None = query
    while following is not None:
        answer = api.get("/images/", following)
        items += answer.json()["items"]
        following = next_of(answer)
        assert len(items) < 100
    return items


def names(items: list[Any]) -> list[str]:
    return [each["name"] for each in items]


@pytest.mark.parametrize("ordering", ["", *ORDERS])
@pytest.mark.parametrize("wide", ["true", "false"])
def test_pages_by_cursor_are_those_by_number(
    api: APIClient, images: list[Image], ordering: str, wide: str
) -> None:
    query: dict[str, Any] = {"include_public": wide, **({"ordering": ordering} if ordering else {})}
    whole = api.get("/images/", {**query, "limit": 100}).json()
    assert whole["total"] == len(whole["items"]) == (12 if wide == "true" else 9)
    assert "hidden" not in names(whole["items"])
    for limit in (1, 2, 5):
        assert walk(api, **query, limit=limit) == whole["items"]
        pages = [
            api.get("/images/", {**query, "limit": limit, "page": page}).json()["items"]
            for page in range(13)
        ]
        assert [each for page in pages for each in page] == whole["items"]


@pytest.mark.parametrize(
    ("ordering", "column"),
    [("size", "good_bytes"), ("duration", "good_ms"), ("ended_at", "ended_at")],
)
def test_lists_are_sorted_by_size_duration_and_end(
    api: APIClient, images: list[Image], owner: User, ordering: str, column: str
) -> None:
    expected = list(Image.objects.filter(owner=owner).order_by(column, "id"))
    found = [each["image_id"] for each in walk(api, ordering=ordering, limit=4)]
    assert found == [str(each.pk) for each in expected]
    assert [each["image_id"] for each in walk(api, ordering=f"-{ordering}")] == found[::-1]


def test_nothing_is_told_twice_or_left_out_while_images_come_and_go(
    api: APIClient, images: list[Image], owner: User
) -> None:
    expected = names(walk(api))
    first = api.get("/images/", {"limit": 3})
    seen = names(first.json()["items"])
    Image.objects.filter(name=seen[0]).delete()
    Image.objects.filter(name=seen[-1]).delete()  # the one that the cursor names
    Image.objects.filter(pk=made(owner, "newest").pk).update(created_at=timezone.now())
    following = next_of(first)
    assert following is not None
    assert seen + names(walk(api, **following)) == expected


def test_a_list_that_is_narrowed_goes_on_narrowed(api: APIClient, images: list[Image]) -> None:
    Image.objects.filter(name__in=["app-2", "app-5", "app-7"]).update(state="failed")
    query = {"status": ["failed", "queued"], "limit": 1, "name": "app"}
    assert sorted(names(walk(api, **query))) == ["app-2", "app-5", "app-7"]


def test_several_statuses_are_taken_with_commas_or_one_by_one(api: APIClient, owner: User) -> None:
    for status in (Status.FAILED, Status.CANCELLED, Status.SUCCEEDED):
        made(owner, f"app-{status}", status=status)
    expected = {"app-failed", "app-cancelled"}
    for sent in (["failed,cancelled"], ["failed", "cancelled"], ["failed", "failed,cancelled"]):
        assert set(names(walk(api, status=sent))) == expected
    answer = api.get("/images/", {"status": ["failed", "perhaps"]})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "status"]
    assert api.get("/images/", {"status": ""}).status_code == 422


def test_of_an_owner_only_what_may_be_seen_is_listed(api: APIClient, images: list[Image]) -> None:
    for name in ("stranger", "STRANGER"):
        found = api.get("/images/", {"owner": name}).json()
        assert sorted(names(found["items"])) == ["open-0", "open-1", "open-2"]
        assert found["total"] == 3
    assert len(walk(api, owner="owner", limit=2)) == 9
    assert walk(api, owner="nobody") == []
    assert walk(api, owner="strange") == []
    narrowed = api.get("/images/", {"owner": "stranger", "name": "open-1"}).json()
    assert (narrowed["total"], names(narrowed["items"])) == (1, ["open-1"])


SOME_ID = "6b187dc6-ee90-474d-8ba8-4794e4b7e0b4"


def encoded(*parts: Any) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%00",
        "ü",
        "a" * 5_000,
        encoded(),
        encoded("name", "a"),
        encoded("owner_id", "a", SOME_ID),
        encoded("--name", "a", SOME_ID),
        encoded("name", "a\0", SOME_ID),
        encoded("name", 1, SOME_ID),
        encoded("size", "1", SOME_ID),
        encoded("size", True, SOME_ID),
        encoded("size", -1, SOME_ID),
        encoded("size", 2**63, SOME_ID),
        encoded("created_at", "2026-11-27", SOME_ID),
        encoded("created_at", "yesterday", SOME_ID),
        encoded("name", "a", "no id"),
        encoded("name", "a", 5),
        encoded({"name": 1}, "a", SOME_ID),
        encoded(["name"], "a", SOME_ID),
    ],
)
def test_a_cursor_that_nobody_was_given_is_refused(api: APIClient, cursor: str) -> None:
    answer = api.get("/images/", {"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "cursor"]


@pytest.mark.parametrize("more", [{"page": "1"}, {"ordering": "size"}])
def test_a_cursor_stands_for_page_and_order(
    api: APIClient, images: list[Image], more: dict[str, str]
) -> None:
    following = next_of(api.get("/images/", {"limit": 2}))
    assert following is not None
    answer = api.get("/images/", {**following, **more})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", *more]


def test_a_cursor_of_one_user_shows_another_nothing_more(
    images: list[Image], owner: User, stranger: User
) -> None:
    following = next_of(client_of(owner).get("/images/", {"limit": 2}))
    assert following is not None
    found = walk(client_of(stranger), **following)
    assert {each["user"]["username"] for each in found} <= {"stranger"}
