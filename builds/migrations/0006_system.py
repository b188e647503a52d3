"""Add data of the system page: index by end, machines of workers, logged errors."""

import django.utils.timezone
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("builds", "0005_queue")]

    operations = [
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                fields=["ended_at"],
                name="builds_build_ended",
                condition=Q(ended_at__isnull=False),
            ),
        ),
        migrations.AddField(
            model_name="worker", name="machine", field=models.JSONField(default=dict)
        ),
        migrations.CreateModel(
            name="Incident",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("process", models.CharField(max_length=300)),
                ("logger", models.CharField(max_length=200)),
                ("message", models.TextField()),
                ("traceback", models.TextField(blank=True)),
                ("request_id", models.CharField(blank=True, max_length=64)),
                ("build_id", models.CharField(blank=True, max_length=36)),
            ],
            options={"default_permissions": ()},
        ),
    ]
