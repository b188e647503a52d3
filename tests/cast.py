"""The cast of every test: an owner, a stranger and an operator."""

import pytest

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
