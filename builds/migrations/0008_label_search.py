"""Add a trigram index on labels, on PostgreSQL only."""

from typing import Any

from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations


def add_index(apps: Any, schema_editor: Any) -> None:
    """Index the expression that `icontains` uses."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "CREATE INDEX builds_build_label_parts ON builds_build "
            "USING gin (UPPER(label::text) gin_trgm_ops)"
        )


def remove_index(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS builds_build_label_parts")


class Migration(migrations.Migration):
    dependencies = [("builds", "0007_lists")]

    operations = [TrigramExtension(), migrations.RunPython(add_index, remove_index)]
