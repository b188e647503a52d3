"""Targets are not needed beside images that know what they knew."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("images", "0007_tell_standing")]

    operations = [
        migrations.RemoveField(model_name="image", name="target"),
        migrations.RemoveIndex(model_name="image", name="images_image_newest"),
        migrations.AddIndex(
            model_name="image",
            index=models.Index(
                models.OrderBy(models.F("created_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                include=("public", "owner"),
                name="images_image_newest",
            ),
        ),
        migrations.AddIndex(
            model_name="image",
            index=models.Index(
                models.F("state"),
                models.OrderBy(models.F("created_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                name="images_image_standing",
            ),
        ),
        migrations.AddIndex(
            model_name="image",
            index=models.Index(
                models.F("owner"),
                models.F("state"),
                models.OrderBy(models.F("created_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                name="images_image_own_standing",
            ),
        ),
    ]
