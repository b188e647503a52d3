"""Add the list of steps and their states."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0011_build_options")]

    operations = [
        migrations.AddField(
            model_name="build", name="step_list", field=models.JSONField(default=list)
        ),
        migrations.AddField(
            model_name="build", name="step_times", field=models.JSONField(default=list)
        ),
    ]
