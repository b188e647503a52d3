"""Gives operators the permissions for resource classes (named sizes of builds)."""

from typing import Any

from django.db import migrations

GROUP = "operator"


def give(apps: Any, schema_editor: Any) -> None:
    database = schema_editor.connection.alias
    kinds, rights, groups = (
        apps.get_model(*name).objects.using(database)
        for name in (
            ("contenttypes", "ContentType"),
            ("auth", "Permission"),
            ("auth", "Group"),
        )
    )
    kind, _ = kinds.get_or_create(app_label="builds", model="resourceclass")
    for action in ("view", "add", "change", "delete"):
        right, _ = rights.get_or_create(
            content_type=kind,
            codename=f"{action}_resourceclass",
            defaults={"name": f"Can {action} resource class"},
        )
        for group in groups.filter(name=GROUP):
            group.permissions.add(right)


class Migration(migrations.Migration):
    dependencies = [
        ("config", "0001_operators"),
        ("builds", "0050_fair_queue"),
    ]

    operations = [migrations.RunPython(give, migrations.RunPython.noop, elidable=False)]
