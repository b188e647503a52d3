import uuid

import django.core.validators
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models

import accounts.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [("auth", "0012_alter_user_first_name_max_length")]

    operations = [
        migrations.CreateModel(
            name="User",
            fields=[
                ("password", models.CharField(max_length=128, verbose_name="password")),
                (
                    "last_login",
                    models.DateTimeField(blank=True, null=True, verbose_name="last login"),
                ),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        error_messages={"unique": "A user of this name exists."},
                        max_length=32,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A(?=[a-zA-Z0-9_-]{3,32}\\Z)[a-zA-Z0-9]+((_|__|-+)[a-zA-Z0-9]+)*\\Z",
                                "A name takes 3 to 32 letters and digits, with single hyphens, underscores or pairs of them in between.",
                            )
                        ],
                    ),
                ),
                (
                    "hotkey",
                    models.CharField(
                        blank=True,
                        error_messages={"unique": "A user with this hotkey exists."},
                        help_text="The ss58 address of the sr25519 key that signs this user's requests.",
                        max_length=48,
                        null=True,
                        unique=True,
                        validators=[accounts.models.validate_hotkey],
                    ),
                ),
                (
                    "daily_build_limit",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Builds in 24 hours; empty for the default.",
                        null=True,
                    ),
                ),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Sees the admin and has no daily limit.",
                        verbose_name="operator",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Users are not deleted: take this off instead.",
                        verbose_name="active",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                django.db.models.functions.text.Lower("username"),
                name="accounts_user_username_ignoring_case",
                violation_error_message="A user of this name exists.",
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "username__regex",
                        "\\A(?=[a-zA-Z0-9_-]{3,32}\\Z)[a-zA-Z0-9]+((_|__|-+)[a-zA-Z0-9]+)*\\Z",
                    )
                ),
                name="accounts_user_username_form",
            ),
        ),
    ]
