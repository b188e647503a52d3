"""Webhooks and their deliveries. The rows of deliveries are the queue and the log."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from webhooks import signing
from webhooks.addresses import URL_CHARACTERS, BadUrl, check_url

if TYPE_CHECKING:
    from accounts.models import User

EVENTS = (
    "image_created",
    "image_updated",
    "image_deleted",
    "build_succeeded",
    "build_failed",
    "build_cancelled",
)
TEST = "test"
"""An event that is sent on request, whatever events the webhook has."""
MOST_WEBHOOKS = 20
"""Webhooks of one owner."""
MOST_WAITING = 1_000
"""Waiting deliveries of one webhook. Further events are dropped."""
TRY_FOR = timedelta(days=1)
DELAYS = (10, 30, 120, 600, 1_800, 3_600, 7_200)
"""Seconds before the next attempt; the last value is repeated."""
HELD = timedelta(seconds=60)
"""Longer than an attempt takes. After that another process may try."""
KEPT = timedelta(days=14)
"""How long deliveries that have ended are kept."""


def validate_url(value: str) -> None:
    try:
        check_url(value)
    except BadUrl as problem:
        raise ValidationError(f"This {problem}.") from problem


def validate_events(value: Any) -> None:
    if not isinstance(value, list) or not all(each in EVENTS for each in value):
        raise ValidationError(f"Events are a list of {', '.join(EVENTS)}.")


class WebhookQuerySet(models.QuerySet["Webhook"]):
    def owned_by(self, user: "User") -> "WebhookQuerySet":
        return self.filter(owner=user)

    def told_of(self, owner_id: Any) -> "WebhookQuerySet":
        """Webhooks for any of these events of this owner's images."""
        return self.filter(Q(owner_id=owner_id) | Q(owner=None), active=True)

    def hearing(self, event: str, owner_id: Any) -> "list[Webhook]":
        """Webhooks for this event of this owner's images that have not too many waiting
        deliveries."""
        told = self.told_of(owner_id)
        waiting = models.Count("deliveries", filter=Q(deliveries__due_at__isnull=False))
        open_ones = told.annotate(waiting=waiting).filter(waiting__lt=MOST_WAITING)
        return [each for each in open_ones if not each.events or event in each.events]

    def due(self) -> "WebhookQuerySet":
        """Webhooks with a due delivery that no process is sending, the longest untried first."""
        now = timezone.now()
        waiting = Delivery.objects.filter(webhook=OuterRef("pk"), due_at__lte=now)
        return self.filter(Exists(waiting), held_until__lte=now).order_by("tried_at", "id")


class Webhook(models.Model):
    """A URL, the events that are sent to it, and the secret that signs them."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="webhooks",
        help_text="Whose images it is told about; empty for everybody's.",
    )
    url = models.CharField("URL", max_length=URL_CHARACTERS, validators=[validate_url])
    events = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_events],
        help_text=f"Of {', '.join(EVENTS)}; an empty list is all of them.",
    )
    active = models.BooleanField(default=True)
    secret = models.CharField(max_length=80, default=signing.new_secret, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    tried_at = models.DateTimeField(default=timezone.now, editable=False)
    """When something was last sent to it. The webhook with the oldest value is next."""
    held_until = models.DateTimeField(default=timezone.now, editable=False)
    """Until then one process sends to it."""

    objects = WebhookQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["owner", "active"], name="webhooks_webhook_hearing")]

    def __str__(self) -> str:
        return self.url[:100]


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def newest_first(self) -> "DeliveryQuerySet":
        return self.order_by("-created_at", "-id")


class Delivery(models.Model):
    """One event for one webhook, and its result."""

    WAITING, DELIVERED, FAILED = "waiting", "delivered", "failed"

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=20)
    image_id = models.UUIDField(null=True)
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(null=True, default=timezone.now)
    """The time of the next attempt; null if there is none."""
    state = models.CharField(
        max_length=9,
        default=WAITING,
        choices=[(each, each) for each in (WAITING, DELIVERED, FAILED)],
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    status_code = models.PositiveSmallIntegerField(null=True)
    """The status of the last answer; null if there was none."""
    error = models.CharField(max_length=300, blank=True)
    duration_ms = models.PositiveIntegerField(null=True)
    tried_at = models.DateTimeField(null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                models.F("webhook"),
                models.F("created_at").desc(),
                models.F("id").desc(),
                name="webhooks_delivery_log",
            ),
            models.Index(
                fields=["webhook", "due_at"],
                name="webhooks_delivery_due",
                condition=Q(due_at__isnull=False),
            ),
            models.Index(
                fields=["tried_at"], name="webhooks_delivery_ended", condition=Q(due_at=None)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.state}"
