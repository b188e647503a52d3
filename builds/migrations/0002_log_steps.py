"""Add the positions of step headings in the log."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0001_builds")]

    operations = [
        migrations.AddField(
            model_name="build", name="log_steps", field=models.JSONField(default=list)
        ),
    ]
