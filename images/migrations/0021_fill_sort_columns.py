"""Sizes, times and ends of the builds that there are, in two statements."""

from typing import Any

from django.db import migrations

TOOK = {
    "postgresql": "floor(extract(epoch FROM build.ended_at - build.started_at) * 1000)::bigint",
    "sqlite": "CAST((julianday(build.ended_at) - julianday(build.started_at)) * 86400000 AS INTEGER)",
}
GOOD = """
    UPDATE images_image AS image
    SET good_bytes = COALESCE(build.image_bytes, 0),
        good_ms = CASE WHEN build.ended_at > build.started_at THEN {took} ELSE 0 END
    FROM builds_build AS build WHERE build.id = image.good_id
"""
ENDS = """
    UPDATE images_image SET ended_at = COALESCE((
        SELECT max(build.ended_at) FROM builds_build AS build
        WHERE build.image_id = images_image.id AND build.queued_at >= images_image.created_at
    ), created_at)
"""


def fill(apps: Any, schema_editor: Any) -> None:
    took = TOOK[schema_editor.connection.vendor]
    for statement in (GOOD.format(took=took), ENDS):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("images", "0020_sort_columns"), ("builds", "0040_exit_codes")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
