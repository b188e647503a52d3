"""What operators asked for, written down before it is done."""

from uuid import uuid4

from django.conf import settings
from django.db import models
from django.utils import timezone


class BulkAction(models.Model):
    """What an operator asks of one thing or of many, done one by one until none is left."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    subject = models.CharField(max_length=50)
    """What is meant: `app.model`."""
    verb = models.CharField(max_length=12)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    confirmed_at = models.DateTimeField(null=True)
    """Nothing is done before."""
    ended_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["created_at"],
                name="operators_bulkaction_open",
                condition=models.Q(confirmed_at__isnull=False, ended_at=None),
            )
        ]

    def __str__(self) -> str:
        return f"{self.verb} by {self.by.get_username()}"


class BulkItem(models.Model):
    """One of those that are meant, as it was when it was selected, and what came of it."""

    WAITING, DONE, REFUSED = "waiting", "done", "refused"

    action = models.ForeignKey(BulkAction, on_delete=models.CASCADE, related_name="items")
    object_id = models.UUIDField()
    label = models.CharField(max_length=400)
    made_at = models.DateTimeField()
    """What is made later under the same id is not meant."""
    state = models.CharField(max_length=8, default=WAITING)
    note = models.CharField(max_length=300, blank=True)
    """What was done, or why it was refused."""

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["action", "object_id"], name="operators_bulkitem_unique_per_action"
            )
        ]
        indexes = [models.Index(fields=["action", "state", "id"], name="operators_bulkitem_state")]

    def __str__(self) -> str:
        return f"{self.label}: {self.state}"
