"""Indexes for lists sorted by end, size and duration."""

from django.db import migrations, models
from django.db.models import F, Q

SORTED_BY = {"ended_at": "end", "good_bytes": "size", "good_ms": "time"}


class Migration(migrations.Migration):
    dependencies = [("images", "0021_fill_sort_columns")]

    operations = [
        *(
            migrations.AddIndex(
                model_name="image",
                index=models.Index(F("owner"), F(key), F("id"), name=f"images_image_own_{name}"),
            )
            for key, name in SORTED_BY.items()
        ),
        *(
            migrations.AddIndex(
                model_name="image",
                index=models.Index(
                    F(key), F("id"), condition=Q(public=True), name=f"images_image_public_{name}"
                ),
            )
            for key, name in SORTED_BY.items()
        ),
        migrations.AddIndex(
            model_name="image",
            index=models.Index(
                F("owner"),
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(good=None),
                name="images_image_never_built",
            ),
        ),
    ]
