"""The group of operators, which a migration makes."""

from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from accounts.models import User
from accounts.rights import OPERATORS

pytestmark = pytest.mark.django_db
MIGRATION: Any = import_module("config.migrations.0001_operators")
RIGHTS = {
    f"{app}.{action}_{model}"
    for (app, model), actions in MIGRATION.RIGHTS.items()
    for action in actions
}
CLASS_RIGHTS = {f"builds.{action}_resourceclass" for action in ("view", "add", "change", "delete")}
"""Which a later migration adds."""


def make_group() -> None:
    MIGRATION.make_group(apps, SimpleNamespace(connection=connection))


@pytest.fixture(autouse=True)
def nobody_remembers() -> Iterator[None]:
    ContentType.objects.clear_cache()
    yield
    ContentType.objects.clear_cache()


def test_operators_have_the_rights_of_the_group_and_no_others(keeper: User) -> None:
    assert keeper.get_all_permissions() == RIGHTS | CLASS_RIGHTS
    assert MIGRATION.NAME == OPERATORS


def test_a_new_database_has_no_permissions_yet(db: None) -> None:
    Permission.objects.all().delete()
    ContentType.objects.all().delete()
    make_group()
    held = Group.objects.get(name=OPERATORS).permissions
    assert {f"{each.content_type.app_label}.{each.codename}" for each in held.all()} == RIGHTS


def test_an_old_database_keeps_its_rows_and_what_the_group_could_do(db: None) -> None:
    make_group()
    group = Group.objects.get(name=OPERATORS)
    extra = Permission.objects.get(codename="delete_session")
    group.permissions.set([extra])
    before = set(Permission.objects.values_list("pk", flat=True))
    make_group()
    assert set(Permission.objects.values_list("pk", flat=True)) == before
    assert group.permissions.count() == len(RIGHTS) + 1
