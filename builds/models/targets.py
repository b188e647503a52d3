"""Targets: what is built. The row of one is the lock under which its public tag moves."""

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Target(models.Model):
    """What attempts are made for: one reference in the registry, and which attempt it stands at."""

    image_id = models.UUIDField(primary_key=True)
    owner_id = models.UUIDField()
    repository = models.CharField(max_length=255)
    """Lower case, without the registry's host: `owner/name`."""
    tag = models.CharField(max_length=128)
    current = models.OneToOneField(
        "Build", null=True, on_delete=models.PROTECT, related_name="current_of"
    )
    good = models.OneToOneField(
        "Build", null=True, on_delete=models.PROTECT, related_name="good_of"
    )
    """The attempt whose digest the public tag names."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(
                fields=["image_id"], name="builds_target_never", condition=Q(good__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"
