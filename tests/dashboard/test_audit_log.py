"""Who did what is found, also of what is gone, and changed by nobody."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from images.models import Image
from tests.images.test_admin import made

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/admin/logentry/"


def test_what_became_of_a_deleted_image_is_found(
    counter: Client,
    owner: User,
    sent: list[Any],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    made(owner, 1)
    image_id = str(Image.objects.get().pk)
    for verb in ("protect", "unprotect", "delete"):
        counter.post(f"/admin/images/image/{image_id}/{verb}/")
    for query in (
        {"q": "owner/made"},
        {"q": image_id},
        {"user": "KEEPER"},
        {"action_flag__exact": "3"},
    ):
        with django_assert_max_num_queries(9):
            page = counter.get(LIST, query)
        text = page.content.decode()
        assert "Deleted: its tag in the registry" in text, query
        assert ("Took the protection off." in text) == ("action_flag__exact" not in query)
    assert "owner/made" not in counter.get(LIST, {"user": "nobody"}).content.decode()


def test_nobody_changes_or_removes_an_entry(
    counter: Client, desk: Client, owner: User, sent: list[Any]
) -> None:
    made(owner, 1)
    image_id = Image.objects.get().pk
    counter.post(f"/admin/images/image/{image_id}/protect/")
    entry = LogEntry.objects.get()
    for browser in (counter, desk):
        assert browser.post(f"{LIST}{entry.pk}/change/", {"object_repr": "x"}).status_code == 403
        assert browser.post(f"{LIST}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
        assert browser.get(f"{LIST}add/").status_code == 403


def test_who_lacks_the_right_does_not_see_it(stranger: User, uncollected: None) -> None:
    stranger.is_staff = True
    stranger.save()
    browser = Client()
    browser.force_login(stranger)
    assert browser.get(LIST).status_code == 403
