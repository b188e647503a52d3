from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created


def _make_private(*, connection: Any, **_: Any) -> None:
    """Make a SQLite file readable by its owner only, even if another program created it."""
    if connection.vendor != "sqlite" or connection.is_in_memory_db():
        return
    path = Path(connection.settings_dict["NAME"])
    if path.exists() and path.stat().st_mode & 0o077:
        path.chmod(0o600)


class ConfigApp(AppConfig):
    name = "config"

    def ready(self) -> None:
        from observability import metrics, telemetry  # noqa: PLC0415  (apps must be there first)

        metrics.watch_queries()
        connection_created.connect(_make_private, dispatch_uid="private database")
        telemetry.start()
