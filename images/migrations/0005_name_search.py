"""Parts of names and tags are found by indexes where there is PostgreSQL."""

from typing import Any

from django.db import migrations

PARTS = {"images_image_name_parts": "name", "images_image_tag_parts": "tag"}


def add_indexes(apps: Any, schema_editor: Any) -> None:
    """On the expressions that `icontains` asks for."""
    if schema_editor.connection.vendor == "postgresql":
        for index, column in PARTS.items():
            schema_editor.execute(
                f"CREATE INDEX {index} ON images_image "
                f"USING gin (UPPER({column}::text) gin_trgm_ops)"
            )


def remove_indexes(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for index in PARTS:
            schema_editor.execute(f"DROP INDEX IF EXISTS {index}")


class Migration(migrations.Migration):
    # The extension comes with the builds.
    dependencies = [("images", "0004_lists"), ("builds", "0008_label_search")]

    operations = [migrations.RunPython(add_indexes, remove_indexes)]
