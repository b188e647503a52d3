"""Add the key of a build's archived log, and an index of logs to archive."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("builds", "0003_log_gaps")]

    operations = [
        migrations.AddField(
            model_name="build",
            name="archive_key",
            field=models.CharField(blank=True, default="", max_length=200),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="build", name="chunks_due_at", field=models.DateTimeField(null=True)
        ),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                fields=["ended_at"],
                name="builds_build_unarchived",
                condition=Q(
                    archive_key="",
                    discarded_at=None,
                    log_lines__gt=0,
                    status__in=["succeeded", "failed", "cancelled", "lost"],
                ),
            ),
        ),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                fields=["chunks_due_at"],
                name="builds_build_chunks_due",
                condition=Q(chunks_due_at__isnull=False),
            ),
        ),
    ]
