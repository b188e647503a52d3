"""What lists of images are sorted by, in the images themselves.

SQLite makes the table again for a new column, and the triggers that keep totals go with the old one.
"""

from importlib import import_module
from typing import Any

import django.utils.timezone
from django.db import migrations, models

SQLITE: list[str] = import_module("images.migrations.0010_tallies").SQLITE
NAMES = ("added", "removed", "moved")


def drop(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for name in NAMES:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS images_tally_{name}", params=None)


def create(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for statement in SQLITE:
            schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("images", "0011_changes")]

    operations = [
        migrations.RunPython(drop, create),
        migrations.AddField(
            model_name="image",
            name="ended_at",
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False),
        ),
        migrations.AddField(
            model_name="image",
            name="good_bytes",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="image",
            name="good_ms",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.RunPython(create, drop),
    ]
