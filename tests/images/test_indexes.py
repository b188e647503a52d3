"""That PostgreSQL finds by an index what people look for a part of."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.fields.tuple_lookups import Tuple, TupleLessThan
from django.utils import timezone

from builds.models import Build
from images.models import SORTED_BY, Image

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def no_scans(db: None) -> Iterator[None]:
    """Tables are too small for an index to pay, so that reading all of one is not offered."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        yield
        cursor.execute("RESET enable_seqscan")


def plan(found: Any) -> str:
    told: str = found.explain()
    return told


@pytest.mark.parametrize(
    ("found", "index"),
    [
        (lambda: Image.objects.filter(name__icontains="pay"), "images_image_name_parts"),
        (lambda: Image.objects.filter(name__istartswith="pa"), "images_image_name_parts"),
        (lambda: Image.objects.filter(tag__icontains="v1."), "images_image_tag_parts"),
        (lambda: Build.objects.filter(label__icontains="pay"), "builds_build_label_parts"),
        (lambda: Build.objects.filter(label__icontains="/pa"), "builds_build_label_parts"),
        (lambda: Build.objects.filter(digest__startswith="sha256:ab"), "builds_build_digest"),
        (lambda: Build.objects.filter(worker__startswith="host"), "builds_build_worker"),
        (lambda: Image.objects.newest_first()[:9], "images_image_newest"),
        (lambda: Build.objects.order_by("-queued_at", "-id")[:9], "builds_build_newest"),
        (
            lambda: Build.objects.filter(status="failed").order_by("-queued_at", "-id")[:9],
            "builds_build_not_succeeded",
        ),
    ],
)
def test_an_index_finds_it(found: Any, index: str) -> None:
    assert index in plan(found())


@pytest.fixture
def no_sorts(no_scans: None) -> Iterator[None]:
    """Nor is sorting offered, which pays as little here."""
    with connection.cursor() as cursor:
        for name in ("enable_sort", "enable_bitmapscan"):
            cursor.execute(f"SET {name} = off")
        yield
        for name in ("enable_sort", "enable_bitmapscan"):
            cursor.execute(f"RESET {name}")


@pytest.mark.usefixtures("no_sorts")
@pytest.mark.parametrize("column", SORTED_BY)
@pytest.mark.parametrize("owned", [True, False])
def test_lists_by_cursor_start_in_the_middle_of_an_index(column: str, owned: bool) -> None:
    value = timezone.now() if column == "ended_at" else 5
    own = {"owner_id": uuid4()} if owned else {"public": True}
    after = TupleLessThan(Tuple(column, "id"), (value, uuid4()))
    told = plan(Image.objects.filter(after, **own).order_by(f"-{column}", "-id")[:9])
    whose = "own" if owned else "public"
    assert f"images_image_{whose}_{SORTED_BY[column]}" in told
    assert "Index Cond" in told
    assert "Sort" not in told
