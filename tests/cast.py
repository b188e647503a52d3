"""The cast of every test: an owner, a stranger and an operator."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User


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
def desk(operator: User, settings: Any) -> Client:
    """The operator's browser at the admin, which needs no collected files to be tried."""
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
    client = Client()
    client.force_login(operator)
    return client
