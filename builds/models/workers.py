"""The worker processes as the database knows them, and the switches that all of them obey."""

from datetime import timedelta

from django.db import models
from django.db.models import ExpressionWrapper, F, Value
from django.utils import timezone

from builds.conf import build_settings
from builds.models.clock import Now, from_now

FORGET_AFTER = timedelta(minutes=10)
"""Long enough for somebody to see that a worker fell silent."""


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> "WorkerQuerySet":
        """Heard of within the time of a lease: what they hold is not taken from them."""
        return self.filter(seen_at__gte=from_now(-build_settings().lease_seconds))

    def taking(self) -> "WorkerQuerySet":
        """Alive, and neither draining nor in quarantine."""
        return self.alive().filter(drain_requested_at=None, quarantined_at=None)

    def with_silence(self) -> "WorkerQuerySet":
        """Each with how long it has not been heard of, by the database's clock."""
        silence = ExpressionWrapper(Now() - F("seen_at"), models.DurationField())
        return self.annotate(silence=silence)  # type: ignore[no-redef]

    def draining(self) -> "WorkerQuerySet":
        return self.filter(drain_requested_at__isnull=False)

    def long_silent(self) -> "WorkerQuerySet":
        return self.filter(seen_at__lt=from_now(-FORGET_AFTER.total_seconds()))


class Worker(models.Model):
    """One worker process. Its housekeeping says at each turn that it lives.

    What it does are the builds that name it.
    """

    name = models.CharField(max_length=200, primary_key=True)
    """As in `Build.worker`."""
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    threads = models.PositiveIntegerField()
    """Builds that it can run at once."""
    resource_classes = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    """Names of those that it takes; empty for all."""
    version = models.CharField(max_length=40)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    machine = models.JSONField(default=dict)
    """What it last measured of the machine it runs on: `builds.host_stats` says what."""
    drain_requested_at = models.DateTimeField(null=True)
    """Since when it is to take nothing more; null while it works as usual."""

    quarantined_at = models.DateTimeField(null=True)
    """Since when it takes nothing because something is wrong with it."""
    quarantine_until = models.DateTimeField(null=True)
    """When it checks itself again."""
    quarantine_reason = models.TextField(blank=True, default="")

    silence: timedelta
    """Of rows from `with_silence` only."""

    objects = WorkerQuerySet.as_manager()

    class Meta:
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.name

    @property
    def silent(self) -> bool:
        """Not heard of for longer than a lease lasts: its builds are given to others."""
        return self.silence > timedelta(seconds=build_settings().lease_seconds)

    @property
    def quarantined(self) -> bool:
        return self.quarantined_at is not None

    @property
    def draining(self) -> bool:
        return self.drain_requested_at is not None


class Pause(models.Model):
    """While its one row is there, no worker takes a build. What runs goes on."""

    ROW = 1
    id = models.PositiveSmallIntegerField(primary_key=True, default=ROW)
    since = models.DateTimeField(default=timezone.now)
    by = models.CharField(max_length=150)
    """Who asked for it, for people."""

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="builds_pause_there_is_one")
        ]

    def __str__(self) -> str:
        return f"paused by {self.by}"
