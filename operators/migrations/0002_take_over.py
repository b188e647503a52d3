"""Copies the bulk actions of the app `images`, so that open ones continue and results are kept."""

from typing import Any

from django.db import migrations

BATCH = 2_000


def take_over(apps: Any, schema_editor: Any) -> None:
    actions, items = (
        apps.get_model("operators", name).objects for name in ("BulkAction", "BulkItem")
    )
    for action in apps.get_model("images", "BulkAction").objects.all():
        made = actions.create(
            id=action.pk,
            subject="images.image",
            verb=action.verb,
            by_id=action.by_id,
            created_at=action.created_at,
            confirmed_at=action.confirmed_at,
            ended_at=action.ended_at,
        )
        fields = ("image_id", "label", "image_created_at", "state", "note")
        items.bulk_create(
            (
                items.model(
                    action=made, object_id=image, label=label, made_at=at, state=state, note=note
                )
                for image, label, at, state, note in action.items.order_by("id").values_list(
                    *fields
                )
            ),
            batch_size=BATCH,
        )


class Migration(migrations.Migration):
    dependencies = [("operators", "0001_bulk_actions"), ("images", "0008_no_targets")]

    operations = [migrations.RunPython(take_over, migrations.RunPython.noop)]
