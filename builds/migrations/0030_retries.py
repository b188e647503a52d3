"""Add retries of builds and quarantine of workers."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0020_superseded_contexts")]

    operations = [
        migrations.AddField(
            model_name="build",
            name="interruptions",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="build", name="retries", field=models.PositiveSmallIntegerField(default=0)
        ),
        migrations.AddField(
            model_name="build", name="retry_until", field=models.DateTimeField(null=True)
        ),
        migrations.AddField(
            model_name="build", name="not_before", field=models.DateTimeField(null=True)
        ),
        migrations.AddField(
            model_name="build",
            name="avoid_worker",
            field=models.CharField(blank=True, default="", max_length=200),
        ),
        migrations.AddField(
            model_name="build",
            name="waiting_for",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="worker", name="quarantined_at", field=models.DateTimeField(null=True)
        ),
        migrations.AddField(
            model_name="worker", name="quarantine_until", field=models.DateTimeField(null=True)
        ),
        migrations.AddField(
            model_name="worker",
            name="quarantine_reason",
            field=models.TextField(blank=True, default=""),
        ),
    ]
