"""Who uses Slipway, with which keys, and which signatures are used up."""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, NoReturn, Self
from uuid import UUID, uuid4

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Lower
from django.utils import timezone

from accounts import hotkeys, scopes

# Lower-cased it is a part of a repository's name, as every registry takes it.
USERNAME = r"\A(?=[a-zA-Z0-9_-]{3,32}\Z)[a-zA-Z0-9]+((_|__|-+)[a-zA-Z0-9]+)*\Z"
KEY = re.compile(r"cpk_([0-9a-f]{32})\.([0-9a-f]{32})\.[a-zA-Z0-9]{32}")
SECRET_CHARACTERS = 32
LABEL_CHARACTERS = 80
USED_EVERY = timedelta(minutes=1)


class UsersStay(Exception):
    """A user was to be deleted: the name would be free for somebody else. Deactivate instead."""


def validate_hotkey(value: str) -> None:
    try:
        hotkeys.public_key(value)
    except hotkeys.InvalidHotkey as problem:
        raise ValidationError(f"This hotkey {problem}.") from problem


def validate_scopes(value: object) -> None:
    if not isinstance(value, list):
        raise ValidationError("Scopes are a list.")
    for scope in value:
        try:
            scopes.check(scope)
        except scopes.BadScope as problem:
            raise ValidationError(str(problem)) from problem


class UserQuerySet(models.QuerySet["User"]):
    def delete(self) -> NoReturn:
        raise UsersStay

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class UserManager(BaseUserManager["User"].from_queryset(UserQuerySet)):  # type: ignore[misc]
    def create_user(self, username: str, password: str | None = None, **fields: Any) -> "User":
        """Without a password the user signs requests or has keys, but cannot log in.

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
    """Somebody who owns images. The name never changes, as pushed repositories bear it."""

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

    def delete(self, *args: Any, **options: Any) -> NoReturn:
        raise UsersStay


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def issue(
        self,
        user: User,
        *,
        label: str = "",
        scopes: Iterable[str] = (scopes.ALL,),
        expires_at: datetime | None = None,
    ) -> tuple["ApiKey", str]:
        """A new key, and its text, which nobody can tell again. Raises ValidationError."""
        key = ApiKey(user=user, label=label, scopes=list(scopes), expires_at=expires_at)
        text = key.draw()
        key.full_clean()
        key.save(force_insert=True, using=self.db)
        return key, text

    def usable(self) -> Self:
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(unexpired, revoked_at=None, user__is_active=True)

    def named_by(self, text: str) -> "ApiKey | None":
        """The usable key that this text is, with its user."""
        shape = KEY.fullmatch(text)
        if shape is None:
            return None
        key = self.usable().select_related("user").filter(pk=UUID(shape[1])).first()
        return key if key is not None and hmac.compare_digest(key.digest, digest(text)) else None

    def revoke(self) -> int:
        """Ends the keys now. Those that are revoked already keep their time."""
        return self.filter(revoked_at=None).update(revoked_at=timezone.now())


class ApiKey(models.Model):
    """`cpk_<id of the key>.<id of the user>.<secret>`. What is kept cannot be turned back."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    label = models.CharField(max_length=LABEL_CHARACTERS, blank=True)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(
        default=list,
        validators=[validate_scopes],
        help_text='["all"], or of "images:read", "images:write", "images:delete" those needed; '
        '"images:read:<id>" is for one image.',
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    def __str__(self) -> str:
        return self.label or str(self.pk)

    def draw(self) -> str:
        """Gives the key a new secret, unsaved; returns its text."""
        letters = string.ascii_letters + string.digits
        secret = "".join(secrets.choice(letters) for _ in range(SECRET_CHARACTERS))
        text = f"cpk_{self.pk.hex}.{self.user_id.hex}.{secret}"
        self.digest = digest(text)
        return text

    def note_use(self) -> None:
        """Keeps the time of the last use, to the minute: reading should not mean writing."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at >= USED_EVERY:
            ApiKey.objects.filter(pk=self.pk).update(last_used_at=now)
            self.last_used_at = now


def digest(text: str) -> str:
    """One hash is enough: the secret has 190 random bits."""
    return hashlib.sha256(text.encode()).hexdigest()


class SpentSignatureQuerySet(models.QuerySet["SpentSignature"]):
    def spend(self, signature: bytes, *, until: datetime) -> bool:
        """Whether this is the signature's first use. Of many at once, one is the first."""
        try:
            with transaction.atomic(using=self.db):
                self.create(signature=signature, expires_at=until)
        except IntegrityError:
            return False
        if signature[0] == 0:  # one in 256 sweeps up; no process has to be told to
            self.prune()
        return True

    def prune(self) -> int:
        """Forgets those whose nonce is refused by now."""
        return self.filter(expires_at__lt=timezone.now()).delete()[0]


class SpentSignature(models.Model):
    """A signature that was used, kept for as long as its nonce would be taken."""

    signature = models.BinaryField(primary_key=True, max_length=hotkeys.SIGNATURE_BYTES)
    expires_at = models.DateTimeField()

    objects = SpentSignatureQuerySet.as_manager()

    class Meta:
        indexes = [models.Index("expires_at", name="accounts_spent_expires_at")]

    def __str__(self) -> str:
        return f"spent until {self.expires_at}"
