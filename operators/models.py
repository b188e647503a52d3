"""Bulk actions of operators. They are stored before they run."""

from uuid import uuid4

from django.conf import settings
from django.db import models
from django.utils import timezone


class BulkAction(models.Model):
    """An action of an operator on one or more rows, which are processed one by one."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    subject = models.CharField(max_length=50)
    """Model of the rows: `app.model`."""
    verb = models.CharField(max_length=12)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    confirmed_at = models.DateTimeField(null=True)
    """The action does not run before it is confirmed."""
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
    """One row of a bulk action, as it was when it was selected, and the result for it."""

    WAITING, DONE, REFUSED = "waiting", "done", "refused"

    action = models.ForeignKey(BulkAction, on_delete=models.CASCADE, related_name="items")
    object_id = models.UUIDField()
    label = models.CharField(max_length=400)
    made_at = models.DateTimeField()
    """Creation time of the row. A later row with the same id is not changed."""
    state = models.CharField(max_length=8, default=WAITING)
    note = models.CharField(max_length=300, blank=True)
    """The result, or why it was refused."""

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
