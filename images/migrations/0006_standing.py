"""Images say themselves which attempts they stand at: first empty, then told, then looked up."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0009_pushing_at"), ("images", "0005_name_search")]

    operations = [
        migrations.AddField(
            model_name="image",
            name="current",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="builds.build",
            ),
        ),
        migrations.AddField(
            model_name="image",
            name="good",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="builds.build",
            ),
        ),
        migrations.AddField(
            model_name="image",
            name="state",
            field=models.CharField(
                choices=[
                    ("queued", "queued"),
                    ("building", "building"),
                    ("succeeded", "succeeded"),
                    ("failed", "failed"),
                    ("cancelled", "cancelled"),
                ],
                default="queued",
                editable=False,
                max_length=9,
            ),
        ),
    ]
