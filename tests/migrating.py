"""The database as an older Slipway had it, and on to what it is now."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

Migration = tuple[str, str | None]


@contextmanager
def migrated_back(*to: Migration) -> Iterator[tuple[Any, Callable[[], None]]]:
    """The models of that time, and what brings all that is stored to the present."""
    executor = MigrationExecutor(connection)
    present = executor.loader.graph.leaf_nodes()

    def to_the_present() -> None:
        MigrationExecutor(connection).migrate(present)

    try:
        state = executor.migrate(list(to))
        yield state.apps, to_the_present
    finally:
        to_the_present()
