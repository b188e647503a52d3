"""Add the contents of a build's image."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("builds", "0050_fair_queue"),
    ]

    operations = [
        migrations.AddField(
            model_name="build",
            name="contents",
            field=models.JSONField(null=True),
        ),
    ]
