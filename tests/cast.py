"""The cast of every test: an owner, a stranger, an operator, and one who is no superuser."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client

from accounts.models import User
from accounts.rights import make_operator


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def stranger(db: None) -> User:
    return User.objects.create_user("stranger")


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator", password="operates-everything")


@pytest.fixture
def keeper(db: None) -> User:
    """An operator with the rights of the group, and no others."""
    # Tests with transactions of their own empty the tables, what migrations made included.
    import_module("config.migrations.0001_operators").make_group(
        apps, SimpleNamespace(connection=connection)
    )
    import_module("config.migrations.0002_resource_classes").give(
        apps, SimpleNamespace(connection=connection)
    )
    user = User.objects.create_user("keeper", password="keeps-what-others-built")
    make_operator(user)
    return user


@pytest.fixture
def uncollected(settings: Any) -> None:
    """Pages of the admin need no collected files to be tried."""
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}


@pytest.fixture
def desk(operator: User, uncollected: None) -> Client:
    """The operator's browser at the admin."""
    client = Client()
    client.force_login(operator)
    return client


@pytest.fixture
def counter(keeper: User, uncollected: None) -> Client:
    """The browser of the one who is no superuser."""
    client = Client()
    client.force_login(keeper)
    return client
