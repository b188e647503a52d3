"""Webhooks and deliveries as clients send and see them."""

from rest_framework import serializers

from api.fields import JsonBool, Text
from api.strict_serializers import StrictSerializer
from webhooks.addresses import URL_CHARACTERS, BadUrl, check_url
from webhooks.models import EVENTS, TEST, Delivery, Webhook


class WebhookFormSerializer(StrictSerializer):
    """The body of `POST /webhooks/` and `PATCH`."""

    url = Text(max_length=URL_CHARACTERS, help_text="http or https. Redirects are not followed.")
    events = serializers.ListField(
        child=serializers.ChoiceField(EVENTS),
        required=False,
        max_length=len(EVENTS),
        help_text="What it is told; an empty list is everything.",
    )
    active = JsonBool(required=False)

    def validate_url(self, value: str) -> str:
        try:
            check_url(value)
        except BadUrl as problem:
            raise serializers.ValidationError(str(problem), code="value_error") from problem
        return value

    def validate_events(self, value: list[str]) -> list[str]:
        return sorted(set(value), key=EVENTS.index)


class WebhookSerializer(serializers.ModelSerializer[Webhook]):
    """A webhook, without its secret."""

    webhook_id = serializers.UUIDField(source="id", read_only=True)
    events = serializers.ListField(child=serializers.ChoiceField(EVENTS), read_only=True)

    class Meta:
        model = Webhook
        fields: tuple[str, ...] = ("webhook_id", "url", "events", "active", "created_at")
        read_only_fields: tuple[str, ...] = fields


class CreatedWebhookSerializer(WebhookSerializer):
    """A webhook when it is created: the only answer with its secret."""

    class Meta(WebhookSerializer.Meta):
        fields: tuple[str, ...] = (*WebhookSerializer.Meta.fields, "secret")
        read_only_fields: tuple[str, ...] = fields


class DeletedWebhookSerializer(serializers.Serializer[Webhook]):
    webhook_id = serializers.UUIDField(source="id", read_only=True)
    deleted = serializers.BooleanField(read_only=True)


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """One event for a webhook, and its result."""

    delivery_id = serializers.UUIDField(source="id", read_only=True)
    event = serializers.ChoiceField([*EVENTS, TEST], read_only=True)
    image_id = serializers.UUIDField(read_only=True, allow_null=True)
    state = serializers.ChoiceField(
        [Delivery.WAITING, Delivery.DELIVERED, Delivery.FAILED],
        read_only=True,
        help_text="`failed` when nothing more is tried.",
    )
    status_code = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Of the last answer; null where there was none."
    )
    error = serializers.CharField(
        read_only=True, help_text="What was wrong at the last attempt; empty if nothing was."
    )

    class Meta:
        model = Delivery
        fields: tuple[str, ...] = (
            "delivery_id",
            "event",
            "image_id",
            "state",
            "attempts",
            "status_code",
            "error",
            "duration_ms",
            "created_at",
            "tried_at",
            "due_at",
        )
        read_only_fields: tuple[str, ...] = fields
