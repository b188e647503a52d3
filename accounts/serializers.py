"""Serializers of users and API keys. Scopes have the format of the reference command line."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts import scopes
from accounts.models import LABEL_CHARACTERS, ApiKey, User
from api.fields import Id, JsonBool, MomentField, Text
from api.strict_serializers import StrictSerializer

ROWS = 100
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""What a scope of the reference server may name in the place of an action."""
MOST_SECONDS = 100 * 366 * 86_400


class UserSerializer(serializers.ModelSerializer[User]):
    """A user, as everybody sees them."""

    user_id = serializers.UUIDField(source="id", read_only=True)
    logo_id = serializers.SerializerMethodField(help_text="Users have no logos.")
    logo = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields: tuple[str, ...] = ("username", "user_id", "logo_id", "created_at", "logo")
        read_only_fields: tuple[str, ...] = fields

    def get_logo_id(self, user: User) -> str | None:
        return None

    def get_logo(self, user: User) -> str | None:
        return None


class MeSerializer(UserSerializer):
    """The caller's own user."""

    permissions_bitmask = serializers.SerializerMethodField(help_text="None of them apply here.")
    permissions = serializers.SerializerMethodField()

    class Meta(UserSerializer.Meta):
        fields: tuple[str, ...] = (
            *UserSerializer.Meta.fields,
            "hotkey",
            "is_staff",
            "daily_build_limit",
            "permissions_bitmask",
            "permissions",
        )
        read_only_fields: tuple[str, ...] = fields

    def get_permissions_bitmask(self, user: User) -> int:
        return 0

    def get_permissions(self, user: User) -> list[str]:
        return []


class NameCheckSerializer(serializers.Serializer[Any]):
    """Whether a name is valid for a user, and available."""

    valid = serializers.BooleanField(read_only=True)
    available = serializers.BooleanField(
        read_only=True, help_text="Whether it is valid and nobody has it."
    )


class ScopeSerializer(StrictSerializer):
    """What a key may do: one action or all, on all objects of a kind or on one of them."""

    tolerated = frozenset({"scope_id", "method"})

    object_type = serializers.ChoiceField(scopes.OBJECTS)
    object_id = Id(required=False, allow_null=True)
    action = serializers.ChoiceField(scopes.ACTIONS, required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> Any:
        found = super().to_internal_value(data)
        method = data.get("method")
        if method is not None and not found.get("action"):
            if method not in METHODS:
                text = f"is none of {', '.join(METHODS)}"
                raise serializers.ValidationError({"method": [text]}, code="enum")
            found["action"] = scopes.action_of(method)
        return found


class KeyOrderSerializer(StrictSerializer):
    """The body of `POST /api_keys/`."""

    name = Text(max_length=LABEL_CHARACTERS)
    admin = JsonBool(default=False, help_text="Whether it may do everything.")
    scopes = serializers.ListField(
        child=ScopeSerializer(), required=False, allow_null=True, max_length=ROWS
    )
    expires_at = MomentField(
        required=False,
        allow_null=True,
        help_text="When the key stops to work: a date and time, in UTC where it has no offset. "
        "Without it, and without `ttl`, the key works until it is deleted.",
    )
    ttl = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MOST_SECONDS,
        help_text="For how many seconds the key works, in place of `expires_at`.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs["admin"] and not attrs.get("scopes"):
            text = "a key that is not for everything needs at least one scope"
            raise serializers.ValidationError({"scopes": [text]}, code="too_short")
        if attrs.get("ttl") is not None and attrs.get("expires_at") is not None:
            text = "takes the place of expires_at: send one of the two"
            raise serializers.ValidationError({"ttl": [text]}, code="value_error")
        return attrs

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            text = "is in the past: the key would never work"
            raise serializers.ValidationError(text, code="value_error")
        return value

    @property
    def chosen_end(self) -> datetime | None:
        """When the key expires; None for never."""
        if self.validated_data.get("ttl") is not None:
            return timezone.now() + timedelta(seconds=self.validated_data["ttl"])
        found: datetime | None = self.validated_data.get("expires_at")
        return found

    @property
    def granted(self) -> list[str]:
        """The scopes of the key, in the format of `accounts.scopes`."""
        if self.validated_data["admin"]:
            return [scopes.ALL]
        rows = self.validated_data["scopes"]
        return sorted({scope for row in rows for scope in _spelled(row)})


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key, without its secret."""

    api_key_id = serializers.UUIDField(source="id", read_only=True)
    user_id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(source="label", read_only=True)
    admin = serializers.SerializerMethodField()
    scopes = serializers.SerializerMethodField()

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "api_key_id",
            "user_id",
            "name",
            "admin",
            "scopes",
            "created_at",
            "last_used_at",
            "expires_at",
        )
        read_only_fields: tuple[str, ...] = fields

    def get_admin(self, key: ApiKey) -> bool:
        return scopes.ALL in key.scopes

    @extend_schema_field(ScopeSerializer(many=True))
    def get_scopes(self, key: ApiKey) -> list[dict[str, str | None]]:
        return [_row(scope) for scope in key.scopes if scope != scopes.ALL]


class CreatedKeySerializer(KeySerializer):
    """A new key. Only this response contains the secret."""

    secret_key = serializers.CharField(read_only=True)

    class Meta(KeySerializer.Meta):
        fields: tuple[str, ...] = (*KeySerializer.Meta.fields, "secret_key")
        read_only_fields: tuple[str, ...] = fields


class EndedKeySerializer(serializers.Serializer[ApiKey]):
    api_key_id = serializers.UUIDField(source="id", read_only=True)
    deleted = serializers.BooleanField(read_only=True)


def _spelled(row: dict[str, Any]) -> Iterator[str]:
    identity = row.get("object_id")
    for action in [row["action"]] if row.get("action") else scopes.ACTIONS:
        yield f"{row['object_type']}:{action}" + (f":{identity}" if identity else "")


def _row(scope: str) -> dict[str, str | None]:
    kind, action, identity = [*scope.split(":"), None][:3]
    return {"object_type": kind, "object_id": identity, "action": action}
