"""Querysets that are compiled once find what others find, and INSERTs add what others add."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.forms import model_to_dict
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiKey, User
from database.prepared_queries import Prepared, insert
from database.substring_lookups import LowerIs
from images.models import Logo

pytestmark = pytest.mark.django_db

BY_ID = Prepared(lambda key: User.objects.filter(pk=key).values_list("pk", "created_at"), UUID)
BY_IDS = Prepared(lambda keys: User.objects.filter(pk__in=keys).values_list("username"), list)
BY_NAME = Prepared(
    lambda name, key: (
        User.objects.filter(LowerIs("username", name) | Q(pk=key))
        .order_by("username")
        .values_list("username")
    ),
    str,
    UUID,
    limited=True,
)


@pytest.fixture
def users(db: None) -> list[User]:
    return [User.objects.create_user(name) for name in ("Anna", "bert", "carl")]


def test_values_are_those_of_the_queryset(users: list[User]) -> None:
    for user in users:
        assert BY_ID.rows(user.pk) == [(user.pk, user.created_at)]
    assert BY_ID.rows(uuid4()) == []


def test_lists_may_have_any_length(users: list[User]) -> None:
    for some in (users, users[:1], []):
        found = {name for (name,) in BY_IDS.rows([user.pk for user in some])}
        assert found == {user.username for user in some}


def test_values_are_bound_and_pages_cut(users: list[User]) -> None:
    assert BY_NAME.rows("ANNA", users[1].pk, 5, 0) == [("Anna",), ("bert",)]
    assert BY_NAME.rows("ANNA", users[1].pk, 5, 1) == [("bert",)]
    assert BY_NAME.rows("anna", users[1].pk, 1, 0) == [("Anna",)]
    assert BY_NAME.rows("' OR 1=1 --", uuid4(), 5, 0) == []


def test_a_value_that_is_not_bound_is_a_mistake_that_is_seen(users: list[User]) -> None:
    forgetful = Prepared(lambda _: User.objects.values_list("pk"), UUID)
    with pytest.raises(ValueError, match="not used"):
        forgetful.rows(uuid4())


def test_queries_are_counted_as_others_are(
    users: list[User], django_assert_num_queries: pytest.FixtureRequest
) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        BY_ID.rows(users[0].pk)


def test_json_is_decoded(users: list[User]) -> None:
    key, _ = ApiKey.objects.issue(users[0], scopes=["images:read"])
    scopes = Prepared(lambda pk: ApiKey.objects.filter(pk=pk).values_list("scopes"), UUID)
    assert scopes.rows(key.pk) == [(["images:read"],)]


def test_times_are_bound(users: list[User]) -> None:
    since = Prepared(
        lambda at: User.objects.filter(created_at__gt=at).values_list("username"), datetime
    )
    assert len(since.rows(users[0].created_at)) == 2
    assert since.rows(users[2].created_at + timedelta(seconds=1)) == []


def rows(owner: User, name: str) -> tuple[ApiKey, Logo]:
    key = ApiKey(user=owner, label=name, scopes=["images:read"], digest=name)
    return key, Logo(owner=owner)


def test_rows_are_added_as_a_save_adds_them(users: list[User]) -> None:
    added, logo = rows(users[0], "added")
    saved, _ = rows(users[0], "added")
    insert(added, logo)
    saved.pk, before = uuid4(), model_to_dict(ApiKey.objects.get(pk=added.pk))
    saved.save(force_insert=True)
    assert model_to_dict(ApiKey.objects.get(pk=saved.pk)) == before
    assert Logo.objects.get(pk=logo.pk).created_at == logo.created_at
    logo.created_at -= timedelta(days=1)
    logo.save()  # it counts as saved
    assert Logo.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_all_rows_are_added_or_none() -> None:
    owner = User.objects.create_user("owner")
    key, logo = rows(owner, "one")
    insert(key, logo)
    other, _ = rows(owner, "other")
    with pytest.raises(IntegrityError):
        insert(other, logo)
    assert not ApiKey.objects.filter(pk=other.pk).exists()
    # Foreign keys are looked at, though only at the end of a transaction.
    stray, fresh = rows(owner, "stray")
    stray.user_id = uuid4()
    with pytest.raises(IntegrityError):
        insert(fresh, stray)
    assert not Logo.objects.filter(pk=fresh.pk).exists()
    with transaction.atomic():
        insert(other)
        transaction.set_rollback(True)
    assert ApiKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_on_postgresql_it_is_one_statement() -> None:
    owner = User.objects.create_user("owner")
    with CaptureQueriesContext(connection) as statements:
        insert(*rows(owner, "one"))
    texts: list[Any] = [each["sql"] for each in statements]
    inserts = [text for text in texts if "INSERT" in text]
    assert len(inserts) == (1 if connection.vendor == "postgresql" else 2)
    assert len(texts) == (1 if connection.vendor == "postgresql" else 4)  # with BEGIN and COMMIT
