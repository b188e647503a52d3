"""Add a mark for builds whose context is to be removed, and an index of it."""

from typing import Any

from django.db import migrations, models
from django.db.models import Exists, OuterRef, Q

FINAL = ["succeeded", "failed", "cancelled", "lost"]


def mark(apps: Any, schema_editor: Any) -> None:
    builds = apps.get_model("builds", "Build").objects
    images = apps.get_model("images", "Image").objects
    others = images.filter(pk=OuterRef("image_id")).exclude(
        current__context_key=OuterRef("context_key")
    )
    unmarked = builds.filter(Exists(others), discarded_at=None, status__in=FINAL)
    unmarked.exclude(context_key="").update(context_superseded=True)


def analyze(apps: Any, schema_editor: Any) -> None:
    """Without statistics, PostgreSQL assumes that the new column is often true."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ANALYZE builds_build (context_superseded)")


class Migration(migrations.Migration):
    dependencies = [("builds", "0012_step_list"), ("images", "0010_tallies")]

    operations = [
        migrations.AddField(
            model_name="build",
            name="context_superseded",
            field=models.BooleanField(default=False),
        ),
        migrations.RunPython(mark, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                condition=Q(context_superseded=True),
                fields=["status"],
                name="builds_build_superseded",
            ),
        ),
        migrations.RunPython(analyze, migrations.RunPython.noop),
    ]
