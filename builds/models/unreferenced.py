"""Stored files that no database row references, and since when."""

from django.db import models
from django.db.models.functions import Now

from builds.models.clock import from_now


class UnreferencedFileQuerySet(models.QuerySet["UnreferencedFile"]):
    def older_than(self, seconds: float) -> "UnreferencedFileQuerySet":
        return self.filter(seen_at__lt=from_now(-seconds))


class UnreferencedFile(models.Model):
    """A file in the default storage that was found without a reference."""

    key = models.CharField(max_length=200, primary_key=True)
    seen_at = models.DateTimeField(db_default=Now())
    """When it was first found unreferenced."""

    objects = UnreferencedFileQuerySet.as_manager()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
