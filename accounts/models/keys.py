"""API keys: credentials for programs. Only a digest of each key is stored."""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from accounts import scopes
from accounts.models.key_cache import KEYS
from accounts.models.users import User

KEY = re.compile(r"cpk_([0-9a-f]{32})\.([0-9a-f]{32})\.[a-zA-Z0-9]{32}")
SECRET_CHARACTERS = 32
LABEL_CHARACTERS = 80
USED_EVERY = timedelta(minutes=1)


def validate_scopes(value: object) -> None:
    if not isinstance(value, list):
        raise ValidationError("Scopes are a list.")
    for scope in value:
        try:
            scopes.check(scope)
        except scopes.BadScope as problem:
            raise ValidationError(str(problem)) from problem


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def issue(
        self,
        user: User,
        *,
        label: str = "",
        scopes: Iterable[str] = (scopes.ALL,),
        expires_at: datetime | None = None,
        key_id: UUID | None = None,
    ) -> tuple["ApiKey", str]:
        """Create a key. Returns it and its text, which cannot be read again. Raises
        ValidationError."""
        key = ApiKey(user=user, label=label, scopes=list(scopes), expires_at=expires_at)
        key.pk = key_id or key.pk
        text = key.draw()
        key.full_clean()
        key.save(force_insert=True, using=self.db)
        return key, text

    def usable(self) -> Self:
        """Keys that are neither revoked nor expired, of active users."""
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(unexpired, revoked_at=None, user__is_active=True)

    def remembered(self, text: str) -> "ApiKey | None":
        """The usable key with this text, if it was cached within KEPT_SECONDS. Makes no query."""
        return KEYS.get(digest(text)) if KEY.fullmatch(text) else None

    def named_by(self, text: str, *, cached: bool = False) -> "ApiKey | None":
        """The usable key with this text, and its user; None if there is none.

        With `cached`, both may be up to KEPT_SECONDS old and are shared: do not modify them.
        """
        shape = KEY.fullmatch(text)
        if shape is None:
            return None
        proof, generation = digest(text), KEYS.generation
        if cached and (known := KEYS.get(proof)):
            return known
        key = self.usable().select_related("user").filter(pk=UUID(shape[1])).first()
        if key is None or not hmac.compare_digest(key.digest, proof):
            return None
        KEYS.put(proof, key, generation)
        return key

    def update(self, **values: Any) -> int:
        changed = super().update(**values)
        if values.keys() != {"last_used_at"}:
            KEYS.forget()
        return changed

    def delete(self) -> tuple[int, dict[str, int]]:
        KEYS.forget()
        return super().delete()

    def revoke(self) -> int:
        """Revoke the keys now and return how many. Keys revoked before keep their time."""
        return self.filter(revoked_at=None).update(revoked_at=timezone.now())


class ApiKey(models.Model):
    """A key has the form `cpk_<id of the key>.<id of the user>.<secret>`. Only its digest is
    stored."""

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

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.user.username}: {self.label or self.short}"

    def save(self, *args: Any, **options: Any) -> None:
        super().save(*args, **options)
        KEYS.forget()

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def short(self) -> str:
        """The beginning of the key, enough to identify it, without the secret."""
        return f"cpk_{self.pk.hex[:8]}…"

    def draw(self) -> str:
        """Generate a new secret, without saving. Returns the text of the key."""
        letters = string.ascii_letters + string.digits
        secret = "".join(secrets.choice(letters) for _ in range(SECRET_CHARACTERS))
        text = f"cpk_{self.pk.hex}.{self.user_id.hex}.{secret}"
        self.digest = digest(text)
        return text

    def note_use(self) -> None:
        """Store the time of the last use, at most once a minute to avoid a write per request."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at >= USED_EVERY:
            ApiKey.objects.filter(pk=self.pk).update(last_used_at=now)
            self.last_used_at = now


def digest(text: str) -> str:
    """SHA-256 in hex. No slow hash is needed: the secret has 190 random bits."""
    return hashlib.sha256(text.encode()).hexdigest()
