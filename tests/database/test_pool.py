"""What is kept of connections to PostgreSQL."""

import psycopg
import pytest
from django.db import connection

from accounts.models import User

IDLE = 10
WAIT_SECONDS = 60.0


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_restart_of_postgresql_fails_no_request_that_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many connections were idle in the pool."""
    settings = connection.settings_dict
    assert not User.objects.exists()
    connection.close()
    pool = connection.pool  # type: ignore[attr-defined]
    monkeypatch.setattr(pool, "timeout", WAIT_SECONDS)
    for each in [pool.getconn() for _ in range(IDLE)]:
        pool.putconn(each)
    with psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        dbname=settings["NAME"],
    ) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert not User.objects.exists()
    connection.close()
