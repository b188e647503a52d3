"""Add the exit code of the command that failed."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0030_retries")]

    operations = [
        migrations.AddField(
            model_name="build", name="exit_code", field=models.SmallIntegerField(null=True)
        )
    ]
