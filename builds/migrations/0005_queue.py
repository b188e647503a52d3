"""Add the front of the queue, workers, and the pause switch."""

import django.utils.timezone
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("builds", "0004_log_archives")]

    operations = [
        migrations.RemoveIndex(model_name="build", name="builds_build_queue"),
        migrations.RemoveField(model_name="build", name="sent_at"),
        migrations.AddField(model_name="build", name="front", field=models.IntegerField(default=0)),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                fields=["front", "queued_at", "id"],
                name="builds_build_queue",
                condition=Q(status="queued"),
            ),
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("name", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=255)),
                ("pid", models.PositiveIntegerField()),
                ("threads", models.PositiveIntegerField()),
                ("version", models.CharField(max_length=40)),
                ("started_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                ("drain_requested_at", models.DateTimeField(null=True)),
            ],
            options={"default_permissions": ("view", "change")},
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("since", models.DateTimeField(default=django.utils.timezone.now)),
                ("by", models.CharField(max_length=150)),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=Q(id=1), name="builds_pause_there_is_one")
                ],
            },
        ),
    ]
