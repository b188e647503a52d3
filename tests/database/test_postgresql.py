"""The pool of PostgreSQL asks connections how they are that were idle, and no others."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from database.postgresql import base

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Connections that were asked."""
    found: list[Any] = []
    ask = base.ConnectionPool.check_connection

    def note(connection: Any) -> None:
        found.append(connection)
        ask(connection)

    monkeypatch.setattr(base.ConnectionPool, "check_connection", staticmethod(note))
    return found


@pytest.fixture
def pooled(db: None) -> Iterator[Any]:
    """A wrapper with a pool of its own, in which there is one connection."""
    options = {**connection.settings_dict["OPTIONS"], "pool": {"min_size": 1, "max_size": 1}}
    made = base.DatabaseWrapper({**connection.settings_dict, "OPTIONS": options}, alias="pooled")
    yield made
    made.close()
    made.close_pool()


def backend(pooled: Any) -> int:
    """Asks on a connection of the pool which one it is, and gives it back."""
    try:
        with pooled.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])
    finally:
        pooled.close()


def kill(process: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [process])


def test_one_that_was_used_just_now_is_not_asked(pooled: Any, checked: list[Any]) -> None:
    backend(pooled)
    del checked[:]
    for _ in range(3):
        backend(pooled)
    assert checked == []


def test_a_dead_one_that_was_idle_is_never_handed_out(
    pooled: Any, checked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "FRESH_SECONDS", -1.0)
    killed = backend(pooled)
    kill(killed)
    assert backend(pooled) != killed
    assert checked


def test_a_fresh_one_that_died_is_known_by_its_socket(
    pooled: Any, checked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "FRESH_SECONDS", 60.0)
    killed = backend(pooled)
    kill(killed)
    del checked[:]
    assert backend(pooled) != killed
    assert checked
