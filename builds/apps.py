from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate


def _remove_triggers(*, using: str, plan: Any = (), **_: Any) -> None:
    """SQLite cannot rename a table while a trigger refers to it."""
    from builds import queue_triggers  # noqa: PLC0415  (apps must be loaded first)

    connection = connections[using]
    if plan and connection.vendor == "sqlite":
        queue_triggers.remove(connection)


def _install_triggers(*, using: str, **_: Any) -> None:
    from builds import queue_triggers  # noqa: PLC0415  (apps must be loaded first)

    tables = connections[using].introspection.table_names()
    if {"builds_build", "builds_queueowner", "builds_queueline"}.issubset(tables):
        queue_triggers.install(connections[using])


class BuildsConfig(AppConfig):
    name = "builds"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from builds import checks  # noqa: F401, PLC0415  (registers the checks)

        pre_migrate.connect(_remove_triggers, sender=self, dispatch_uid="queue triggers")
        post_migrate.connect(_install_triggers, sender=self, dispatch_uid="queue triggers")
