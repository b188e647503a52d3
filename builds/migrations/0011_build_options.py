"""Add build options besides the build arguments."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0010_no_targets")]

    operations = [
        migrations.AddField(
            model_name="build",
            name="target",
            field=models.CharField(blank=True, default="", max_length=128),
        ),
        migrations.AddField(
            model_name="build",
            name="no_cache",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="build",
            name="pull",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="build",
            name="labels",
            field=models.JSONField(default=dict),
        ),
    ]
