"""Users in the admin, with what they have used of their limits."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from builds.models import Build

pytestmark = pytest.mark.django_db
USERS = "/admin/accounts/user/"


def charge(user: User, hours: float, *, free: bool = False) -> None:
    Build.objects.create(
        image_id=uuid4(),
        owner_id=user.pk,
        label=f"{user.username}/app:1",
        number=1,
        context_bytes=1,
        free=free,
        queued_at=timezone.now() - timedelta(hours=hours),
    )


def test_builds_are_told_against_the_limit(
    desk: Client, owner: User, stranger: User, operator: User
) -> None:
    for hours in (1, 2, 23):
        charge(owner, hours)
    charge(owner, 25)
    charge(owner, 1, free=True)
    charge(operator, 1)
    User.objects.filter(pk=stranger.pk).update(daily_build_limit=0)
    admin_class = desk.get(USERS).context["cl"].model_admin
    found = {
        user.username: admin_class.used(user) for user in desk.get(USERS).context["cl"].result_list
    }
    assert found == {"owner": "3 of 24", "stranger": "0 of 0", "operator": "1, no limit"}
    assert "3 of 24" in desk.get(f"{USERS}{owner.pk}/change/").content.decode()


def test_a_page_of_users_costs_no_query_for_each(
    desk: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    User.objects.bulk_create(User(username=f"person-{number}") for number in range(50))
    with django_assert_max_num_queries(7):
        desk.get(USERS)
