"""What is kept of connections to PostgreSQL."""

import psycopg
import pytest
from django.db import connection

from accounts.models import User


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_restart_of_postgresql_fails_no_request_that_comes_after_it() -> None:
    settings = connection.settings_dict
    for _ in range(3):
        assert not User.objects.exists()
        connection.close()
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
