"""Parts of labels are found by an index where there is PostgreSQL: others read every row."""

from typing import Any

from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations


def add_index(apps: Any, schema_editor: Any) -> None:
    """On the expression that `icontains` asks for."""
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
