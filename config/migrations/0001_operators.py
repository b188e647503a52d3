"""The group of operators, with its permissions in the admin.

Django creates the rows of permissions only after all migrations. So the rows that the group needs
are created here if they are missing, and Django finds them later.
"""

from typing import Any

from django.db import migrations

NAME = "operator"
RIGHTS = {
    ("accounts", "user"): ("view", "add", "change"),
    ("accounts", "apikey"): ("view", "add", "change"),
    ("admin", "logentry"): ("view",),
    ("builds", "build"): ("view", "change"),
    ("builds", "worker"): ("view", "change"),
    ("images", "image"): ("view", "change", "delete"),
}
WORDS = {"apikey": "API key", "logentry": "log entry"}


def make_group(apps: Any, schema_editor: Any) -> None:
    """Create the group. If it exists already, it keeps its other permissions."""
    database = schema_editor.connection.alias
    content_type, permission, group = (
        apps.get_model(*name).objects.using(database)
        for name in (
            ("contenttypes", "ContentType"),
            ("auth", "Permission"),
            ("auth", "Group"),
        )
    )
    operators, _ = group.get_or_create(name=NAME)
    for (app, model), actions in RIGHTS.items():
        kind, _ = content_type.get_or_create(app_label=app, model=model)
        for action in actions:
            right, _ = permission.get_or_create(
                content_type=kind,
                codename=f"{action}_{model}",
                defaults={"name": f"Can {action} {WORDS.get(model, model)}"},
            )
            operators.permissions.add(right)


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0002_api_keys"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("builds", "0001_builds"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("images", "0001_images"),
    ]

    operations = [migrations.RunPython(make_group, migrations.RunPython.noop, elidable=False)]
