"""Add the path of a Dockerfile that is in the context."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0040_exit_codes")]

    operations = [
        migrations.AddField(
            model_name="build",
            name="dockerfile_path",
            field=models.CharField(blank=True, default="", max_length=1024),
        )
    ]
