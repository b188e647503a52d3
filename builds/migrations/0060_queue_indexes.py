"""Change the conditions of the queue's indexes so that SQLite recognises them in queries."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("builds", "0052_unreferenced_files"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="build",
            name="builds_build_queue",
        ),
        migrations.RemoveIndex(
            model_name="build",
            name="builds_build_line",
        ),
        migrations.RemoveIndex(
            model_name="build",
            name="builds_build_retries",
        ),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                condition=models.Q(("status__in", ["queued"])),
                fields=["front", "queued_at", "id"],
                name="builds_build_queue",
            ),
        ),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                condition=models.Q(("status__in", ["queued"])),
                fields=["owner_id", "resource_class", "queued_at", "id"],
                name="builds_build_line",
            ),
        ),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                condition=models.Q(("not_before__isnull", False), ("status__in", ["queued"])),
                fields=["not_before"],
                name="builds_build_retries",
            ),
        ),
    ]
