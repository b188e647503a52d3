"""Add owners' turns, queue lines and resource classes. `builds.apps` installs the triggers."""

from typing import Any

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from builds import queue_triggers


def remove_triggers(apps: Any, schema_editor: Any) -> None:
    queue_triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [
        ("builds", "0041_dockerfile_path"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="QueueLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("resource_class", models.CharField(max_length=40)),
                ("waiting", models.IntegerField()),
                ("precedence", models.SmallIntegerField()),
                ("load", models.FloatField()),
                ("turn", models.FloatField()),
            ],
            options={
                "ordering": ("precedence", "load", "turn", "id"),
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="QueueOwner",
            fields=[
                ("owner_id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "priority",
                    models.SmallIntegerField(
                        choices=[(-1, "Low"), (0, "Normal"), (1, "High")], db_default=0, default=0
                    ),
                ),
                (
                    "weight",
                    models.PositiveSmallIntegerField(
                        db_default=1,
                        default=1,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                    ),
                ),
                ("most_running", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("running", models.IntegerField(db_default=0, default=0)),
                ("turn", models.FloatField(db_default=0, default=0)),
                ("started_turn", models.FloatField(db_default=0, default=0)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="ResourceClass",
            fields=[
                (
                    "name",
                    models.CharField(
                        help_text="Lower-case letters, digits and hyphens. It cannot be changed later.",
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[a-z0-9]+(-[a-z0-9]+)*\\Z",
                                "Use lower-case letters, digits and single hyphens.",
                            )
                        ],
                    ),
                ),
                (
                    "cpus",
                    models.FloatField(
                        help_text="Processors.",
                        validators=[
                            django.core.validators.MinValueValidator(0.01),
                            django.core.validators.MaxValueValidator(1024),
                        ],
                    ),
                ),
                (
                    "memory_mb",
                    models.PositiveIntegerField(
                        help_text="In MiB.",
                        validators=[django.core.validators.MinValueValidator(64)],
                        verbose_name="memory",
                    ),
                ),
                (
                    "disk_mb",
                    models.PositiveIntegerField(
                        help_text="In MiB: of the image, and of the owner's cache where it is made new.",
                        validators=[django.core.validators.MinValueValidator(64)],
                        verbose_name="disk",
                    ),
                ),
                (
                    "deadline",
                    models.PositiveIntegerField(
                        help_text="Seconds that a build may take.",
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "is_default",
                    models.BooleanField(
                        default=False,
                        help_text="Builds that name no class get this one, where their owner may use it.",
                        verbose_name="default",
                    ),
                ),
                (
                    "everybody",
                    models.BooleanField(
                        default=True,
                        help_text="Otherwise only for the users named below.",
                        verbose_name="for everybody",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "resource classes",
                "ordering": ("name",),
                "default_permissions": ("view", "add", "change", "delete"),
            },
        ),
        migrations.CreateModel(
            name="ResourceClassGrant",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "verbose_name": "user",
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="build",
            name="resource_class",
            field=models.CharField(db_default="default", default="default", max_length=40),
        ),
        migrations.AddField(
            model_name="worker",
            name="resource_classes",
            field=models.JSONField(db_default=models.Value([], models.JSONField()), default=list),
        ),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                condition=models.Q(("status", "queued")),
                fields=["owner_id", "resource_class", "queued_at", "id"],
                name="builds_build_line",
            ),
        ),
        migrations.AddIndex(
            model_name="build",
            index=models.Index(
                condition=models.Q(("not_before__isnull", False), ("status", "queued")),
                fields=["not_before"],
                name="builds_build_retries",
            ),
        ),
        migrations.AddIndex(
            model_name="queueowner",
            index=models.Index(
                models.OrderBy(models.F("started_turn"), descending=True),
                name="builds_queueowner_started",
            ),
        ),
        migrations.AddConstraint(
            model_name="queueowner",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gt", 0)), name="builds_queueowner_weight"
            ),
        ),
        migrations.AddField(
            model_name="queueline",
            name="owner",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, to="builds.queueowner"
            ),
        ),
        migrations.AddConstraint(
            model_name="resourceclass",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_default", True)),
                fields=("is_default",),
                name="builds_resourceclass_one_default",
                violation_error_message="Another class is the default already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="resourceclass",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", "default"), _negated=True),
                name="builds_resourceclass_not_default",
                violation_error_message="The settings describe the class “default”.",
            ),
        ),
        migrations.AddField(
            model_name="resourceclassgrant",
            name="resource_class",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="grants",
                to="builds.resourceclass",
            ),
        ),
        migrations.AddField(
            model_name="resourceclassgrant",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="queueline",
            index=models.Index(
                fields=["precedence", "load", "turn", "id"], name="builds_queueline_next"
            ),
        ),
        migrations.AddIndex(
            model_name="queueline",
            index=models.Index(
                fields=["resource_class", "precedence", "load", "turn", "id"],
                name="builds_queueline_class",
            ),
        ),
        migrations.AddConstraint(
            model_name="queueline",
            constraint=models.UniqueConstraint(
                fields=("owner", "resource_class"), name="builds_queueline_one_per_class"
            ),
        ),
        migrations.AddConstraint(
            model_name="resourceclassgrant",
            constraint=models.UniqueConstraint(
                fields=("resource_class", "user"), name="builds_resourceclassgrant_once"
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, remove_triggers),
    ]
