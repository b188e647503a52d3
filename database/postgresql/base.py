"""The backend that `settings.DATABASES` names for PostgreSQL."""

from select import POLLIN, poll
from time import monotonic
from typing import Any

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg import OperationalError
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg_pool import ConnectionPool

# The stubs leave out how Django pools connections.
Wrapper: Any = base.DatabaseWrapper

FRESH_SECONDS = 1.0
"""A connection that was used so lately is asked only if its socket has something to say: to ask
before each use would cost as much as a query. PostgreSQL says why it ends a connection."""


class JsonbText(Loader):
    """JSON as text, which Django decodes in its fields, also where it is sent in binary form."""

    format = Format.BINARY

    def load(self, data: Any) -> str:
        return bytes(data)[1:].decode()  # after the version of the format


class DatabaseWrapper(Wrapper):
    def get_connection_params(self) -> dict[str, Any]:
        found: dict[str, Any] = super().get_connection_params()
        found["context"].register_loader("jsonb", JsonbText)
        return found

    @property
    def pool(self) -> Any:
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not options:
            return None
        if self.alias not in self._connection_pools:
            made = ConnectionPool(
                kwargs={**self.get_connection_params(), "autocommit": True},
                open=False,
                configure=self._configure_connection,
                check=check,
                **options,
            )
            # Of several threads that come here at once, one makes the pool that stays.
            self._connection_pools.setdefault(self.alias, made)
        return self._connection_pools[self.alias]

    def _configure_connection(self, connection: Any) -> Any:
        super()._configure_connection(connection)
        if is_pooled(connection):
            # The next transaction may have another server, which knows nothing of this one's.
            connection.prepare_threshold = None
            self.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
        else:
            # Compiling a query costs more than all of what our queries do.
            connection.execute("SET jit = off")
        return True

    def _close(self) -> Any:
        if self.connection is not None:
            self.connection.used_at = monotonic()
        return super()._close()


def is_pooled(connection: Any) -> bool:
    """Whether a pooler such as PgBouncer stands between: it makes up the id of the process."""
    [actual] = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(actual != connection.info.backend_pid)


def check(connection: Any) -> None:
    """Raises OperationalError where a connection of the pool is dead.

    Then the pool has dropped the others that are dead, too: it waits longer and longer between the
    dead ones that it comes upon, and gives up at the fourth.
    """
    fresh = monotonic() - getattr(connection, "used_at", 0.0) <= FRESH_SECONDS
    if fresh and not _has_news(connection.fileno()):
        return
    try:
        ConnectionPool.check_connection(connection)
    except OperationalError:
        connection._pool.check()  # noqa: SLF001  (the pool that it came from)
        raise


def _has_news(fd: int) -> bool:
    """Whether something arrived that nobody asked for, or the other side is gone."""
    socket = poll()
    socket.register(fd, POLLIN)
    return bool(socket.poll(0))
