"""Totals that are brought up to date are what a count would find, whatever changes meanwhile."""

import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from api.views import narrowed
from images import list_totals
from images.filters import ImageFilter
from images.list_totals import TOTALS, total_of
from images.models import Image, ImageChange
from tests.images.rest.test_rows import made

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

NONE = dict.fromkeys(ImageFilter.base_filters)
ASKED: list[dict[str, Any]] = [
    {"name": "app"},
    {"name": "e"},
    {"tag": "v3.1"},
    {"public": True},
    {"public": False, "name": "app"},
    {"created_after": timezone.now() - timedelta(seconds=3)},
]


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    TOTALS.forget()
    yield
    TOTALS.forget()


def both(viewer: User, asked: dict[str, Any], *, include_public: bool) -> tuple[int, int]:
    """What is told, and what a count finds."""
    given = {**NONE, **asked, "include_public": include_public}
    images = Image.objects.all()
    listed = images.visible_to(viewer) if include_public else images.owned_by(viewer)

    def narrow(rows: Any) -> Any:
        return narrowed(ImageFilter, rows, given)

    found = narrow(listed)
    return total_of(viewer.pk, given, narrow, found), found.count()


def change(owner: User, stranger: User, number: int) -> None:
    some = random.Random(number)
    for n in range(12):
        image = made(some.choice((owner, stranger)), f"app-{number}-{n}", tag=f"v{n % 5}.{n}")
        held = Image.objects.filter(pk=image.pk)
        match some.randrange(4):
            case 0:
                held.update(public=True)
            case 1:
                held.update(owner=stranger, name=f"else-{number}-{n}")
            case 2:
                held.delete()


def test_a_total_follows_every_change(owner: User, stranger: User) -> None:
    for number in range(8):
        change(owner, stranger, number)
        for asked in ASKED:
            for viewer in (owner, stranger):
                for include_public in (True, False):
                    told, counted = both(viewer, asked, include_public=include_public)
                    assert told == counted, (asked, viewer, include_public)


def test_a_total_is_counted_once_and_then_brought_up_to_date(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(owner, "app-one")
    assert both(owner, {"name": "app"}, include_public=True) == (1, 1)
    monkeypatch.setattr(list_totals, "counted_with_snapshot", None)
    made(owner, "app-two")
    assert both(owner, {"name": "app"}, include_public=True) == (2, 2)
    Image.objects.filter(name="app-one").delete()
    assert both(owner, {"name": "app"}, include_public=True) == (1, 1)


def test_what_another_transaction_commits_later_is_counted_then(
    owner: User, stranger: User
) -> None:
    """It began before the count that is remembered, and ends after it."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        try:
            with transaction.atomic():
                made(owner, "app-slow")
                begun.set()
                go_on.wait(10)
        finally:
            connection.close()

    slow = threading.Thread(target=slowly)
    slow.start()
    begun.wait(10)
    made(owner, "app-quick")
    assert both(owner, {"name": "app"}, include_public=False) == (1, 1)
    go_on.set()
    slow.join()
    assert both(owner, {"name": "app"}, include_public=False) == (2, 2)


def test_totals_are_exact_while_many_change_images(owner: User, stranger: User) -> None:
    wrong: list[Any] = []
    done = threading.Event()

    def changing(number: int) -> None:
        try:
            change(owner, stranger, number)
        finally:
            connection.close()

    def looking() -> None:
        try:
            while not done.is_set():
                both(owner, {"name": "app"}, include_public=True)  # to be remembered
                with transaction.atomic():
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    told, counted = both(owner, {"name": "app"}, include_public=True)
                if told != counted:
                    wrong.append((told, counted))
        finally:
            connection.close()

    changers = [threading.Thread(target=changing, args=(n,)) for n in range(4)]
    looker = threading.Thread(target=looking)
    for each in (looker, *changers):
        each.start()
    for each in changers:
        each.join()
    done.set()
    looker.join()
    assert wrong == []


def test_a_journal_that_nobody_needs_is_removed(owner: User) -> None:
    made(owner, "app-old")
    ImageChange.objects.update(at=timezone.now() - timedelta(minutes=6))
    made(owner, "app-horizon")
    ImageChange.objects.filter(name="app-horizon").update(at=timezone.now() - timedelta(minutes=6))
    for n in range(2_000):
        if not ImageChange.objects.filter(name="app-old").exists():
            break
        Image.objects.create(
            id=uuid4(), reference_id=uuid4(), owner=owner, name=f"app-more-{n}", tag="1"
        )
    assert not ImageChange.objects.filter(name="app-old").exists()
    assert ImageChange.objects.filter(name__startswith="app-more").exists()
