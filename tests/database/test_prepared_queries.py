"""Querysets that are compiled once find what others find."""

from uuid import UUID, uuid4

import pytest
from django.db.models import Q

from accounts.models import User
from database.prepared_queries import Prepared
from database.substring_lookups import LowerIs

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
