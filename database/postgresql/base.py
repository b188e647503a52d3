"""The PostgreSQL backend that `settings.DATABASES` names."""

from select import POLLIN, poll
from time import monotonic
from typing import Any

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg import OperationalError
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg_pool import ConnectionPool

# The type stubs do not cover Django's connection pooling.
Wrapper: Any = base.DatabaseWrapper

FRESH_SECONDS = 1.0
"""For a connection used within this time, only the socket is checked for pending data: a query
before each use would double the cost of a small query. PostgreSQL sends a message before it closes
a connection."""


class JsonbText(Loader):
    """Loads jsonb as text, also in binary format. Django's fields decode it."""

    format = Format.BINARY

    def load(self, data: Any) -> str:
        return bytes(data)[1:].decode()  # byte 0 is the format version


class DatabaseWrapper(Wrapper):
    """Django's wrapper, with this package's pool and connection settings."""

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
            # If several threads get here at once, only the first pool is kept.
            self._connection_pools.setdefault(self.alias, made)
        return self._connection_pools[self.alias]

    def _configure_connection(self, connection: Any) -> Any:
        super()._configure_connection(connection)
        if is_pooled(connection):
            # The next transaction may run on another server connection, without these statements.
            connection.prepare_threshold = None
            self.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
        else:
            # JIT compilation takes longer than our queries.
            connection.execute("SET jit = off")
        return True

    def _close(self) -> Any:
        if self.connection is not None:
            self.connection.used_at = monotonic()
        return super()._close()


def is_pooled(connection: Any) -> bool:
    """Whether a pooler such as PgBouncer is in between: it reports another process id."""
    [actual] = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(actual != connection.info.backend_pid)


def check(connection: Any) -> None:
    """Check a connection of the pool. Raises OperationalError if it is dead.

    All other dead connections are then removed from the pool too. Otherwise the pool would back off
    after each dead connection it finds, and give up at the fourth.
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
    """Whether unexpected data has arrived on the socket, or the peer has closed it."""
    socket = poll()
    socket.register(fd, POLLIN)
    return bool(socket.poll(0))
