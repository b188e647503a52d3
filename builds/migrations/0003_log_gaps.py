"""Add the range of truncated log lines."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0002_log_steps")]

    operations = [
        migrations.AddField(
            model_name="build", name="gap_start", field=models.PositiveIntegerField(default=0)
        ),
        migrations.AddField(
            model_name="build", name="gap_stop", field=models.PositiveIntegerField(default=0)
        ),
    ]
