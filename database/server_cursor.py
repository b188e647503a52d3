"""Cursors of PostgreSQL that Django's own backend does not make."""

from typing import Any

import psycopg


class PreparedCursor(psycopg.Cursor[tuple[Any, ...]]):
    """Values are bound by the server, which keeps the plan of the statement."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> "PreparedCursor":
        # In binary form times and ids are read without Django's own loaders, which are slow.
        super().execute(query, params, prepare=True, binary=True, **options)
        return self
