"""Worker processes, and the pause switch that all of them obey."""

from datetime import timedelta

from django.db import models
from django.db.models import ExpressionWrapper, F, Value
from django.utils import timezone

from builds.conf import build_settings
from builds.models.clock import Now, from_now

FORGET_AFTER = timedelta(minutes=10)
"""Long enough for operators to notice that a worker has stopped responding."""


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> "WorkerQuerySet":
        """Workers seen within the duration of a lease. Their builds are not reassigned."""
        return self.filter(seen_at__gte=from_now(-build_settings().lease_seconds))

    def taking(self) -> "WorkerQuerySet":
        """Alive, and neither draining nor in quarantine."""
        return self.alive().filter(drain_requested_at=None, quarantined_at=None)

    def with_silence(self) -> "WorkerQuerySet":
        """Annotate how long each worker has not been seen, by the database's clock."""
        silence = ExpressionWrapper(Now() - F("seen_at"), models.DurationField())
        return self.annotate(silence=silence)  # type: ignore[no-redef]

    def draining(self) -> "WorkerQuerySet":
        return self.filter(drain_requested_at__isnull=False)

    def long_silent(self) -> "WorkerQuerySet":
        """Workers not seen for `FORGET_AFTER`; their rows are deleted."""
        return self.filter(seen_at__lt=from_now(-FORGET_AFTER.total_seconds()))


class Worker(models.Model):
    """One worker process. Its housekeeping updates `seen_at`.

    Its builds are those whose `worker` is its name.
    """

    name = models.CharField(max_length=200, primary_key=True)
    """Same as `Build.worker`."""
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    threads = models.PositiveIntegerField()
    """Builds that it can run concurrently."""
    resource_classes = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    """Resource classes whose builds it takes; empty for all."""
    version = models.CharField(max_length=40)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    machine = models.JSONField(default=dict)
    """Last measurement of its machine, see `builds.host_stats`."""
    drain_requested_at = models.DateTimeField(null=True)
    """Since when it takes no more builds; null if it is not draining."""

    quarantined_at = models.DateTimeField(null=True)
    """Since when it is in quarantine; null if it is not."""
    quarantine_until = models.DateTimeField(null=True)
    """When it runs its checks again."""
    quarantine_reason = models.TextField(blank=True, default="")

    silence: timedelta
    """Only set by `with_silence`."""

    objects = WorkerQuerySet.as_manager()

    class Meta:
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.name

    @property
    def silent(self) -> bool:
        """Not seen for longer than a lease: its builds are given to other workers."""
        return self.silence > timedelta(seconds=build_settings().lease_seconds)

    @property
    def quarantined(self) -> bool:
        return self.quarantined_at is not None

    @property
    def draining(self) -> bool:
        return self.drain_requested_at is not None


class Pause(models.Model):
    """While its single row exists, no worker takes a build. Running builds continue."""

    ROW = 1
    id = models.PositiveSmallIntegerField(primary_key=True, default=ROW)
    since = models.DateTimeField(default=timezone.now)
    by = models.CharField(max_length=150)
    """Who paused the queue, for display."""

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="builds_pause_there_is_one")
        ]

    def __str__(self) -> str:
        return f"paused by {self.by}"
