"""Errors that processes logged: the newest `KEPT`, for operators."""

from django.db import models
from django.utils import timezone

KEPT = 500
MESSAGE, TRACEBACK = 2_000, 10_000
"""Maximum characters. Of a traceback the end is kept, which names the error."""


class Incident(models.Model):
    """One log record of level ERROR or above, from any process."""

    at = models.DateTimeField(default=timezone.now)
    process = models.CharField(max_length=300)
    """`host:pid`."""
    logger = models.CharField(max_length=200)
    message = models.TextField()
    traceback = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    build_id = models.CharField(max_length=36, blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.logger}: {self.message[:80]}"

    def keep(self) -> None:
        """Save it and delete the oldest incidents."""
        self.message = self.message[:MESSAGE].replace("\0", "")
        self.traceback = self.traceback[-TRACEBACK:].replace("\0", "")
        self.save(force_insert=True)
        Incident.objects.filter(pk__lte=self.pk - KEPT).delete()
