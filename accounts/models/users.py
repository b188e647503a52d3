"""Users: owners of images, with a permanent name and an optional hotkey that signs requests."""

from typing import Any, ClassVar, NoReturn
from uuid import uuid4

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from accounts import hotkeys
from accounts.models.key_cache import KEYS

# Lower-cased, it is a valid component of a repository name in every registry.
USERNAME = r"\A(?=[a-zA-Z0-9_-]{3,32}\Z)[a-zA-Z0-9]+((_|__|-+)[a-zA-Z0-9]+)*\Z"


class UsersStay(Exception):
    """Users cannot be deleted, since their name would become free. Deactivate them instead."""


def validate_hotkey(value: str) -> None:
    try:
        hotkeys.public_key(value)
    except hotkeys.InvalidHotkey as problem:
        raise ValidationError(f"This hotkey {problem}.") from problem


class UserQuerySet(models.QuerySet["User"]):
    def update(self, **values: Any) -> int:
        changed = super().update(**values)
        KEYS.forget()
        return changed

    def delete(self) -> NoReturn:
        """Not allowed: raises UsersStay."""
        raise UsersStay

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class UserManager(BaseUserManager["User"].from_queryset(UserQuerySet)):  # type: ignore[misc]
    def create_user(self, username: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user. Without a password they cannot log in, but can sign requests or use keys.

        Raises ValidationError.
        """
        user: User = self.model(username=username, **fields)
        user.set_password(password)
        user.full_clean()
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(username, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """An owner of images. The name never changes, because pushed repositories contain it."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    username = models.CharField(
        max_length=32,
        unique=True,
        validators=[
            RegexValidator(
                USERNAME,
                "A name takes 3 to 32 letters and digits, with single hyphens, underscores or "
                "pairs of them in between.",
            )
        ],
        error_messages={"unique": "A user of this name exists."},
    )
    hotkey = models.CharField(
        max_length=hotkeys.CHARACTERS,
        unique=True,
        null=True,
        blank=True,
        validators=[validate_hotkey],
        help_text="The ss58 address of the sr25519 key that signs this user's requests.",
        error_messages={"unique": "A user with this hotkey exists."},
    )
    daily_build_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Builds in 24 hours; empty for the default."
    )
    storage_limit_mb = models.PositiveIntegerField(
        "storage limit",
        null=True,
        blank=True,
        help_text="MiB that this user's images may take in the registry; empty for the default.",
    )
    is_staff = models.BooleanField(
        "operator", default=False, help_text="Sees the admin and has no daily limit."
    )
    is_active = models.BooleanField(
        "active", default=True, help_text="Users are not deleted: take this off instead."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    USERNAME_FIELD = "username"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("username"),
                name="accounts_user_username_ignoring_case",
                violation_error_message="A user of this name exists.",
            ),
            models.CheckConstraint(
                condition=models.Q(username__regex=USERNAME),
                name="accounts_user_username_form",
            ),
        ]

    def clean(self) -> None:
        super().clean()
        given = User.objects.filter(pk=self.pk).values_list("username", flat=True).first()
        if given not in (None, self.username):
            raise ValidationError({"username": "A name is never changed."})

    def save(self, *args: Any, **options: Any) -> None:
        super().save(*args, **options)
        KEYS.forget()

    def delete(self, *args: Any, **options: Any) -> NoReturn:
        raise UsersStay
