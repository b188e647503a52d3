"""Statistics of the queue and of builds in the last day, with few queries at any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any

from django.db.models import Avg, Count, F, Min
from django.db.models.functions import TruncHour
from django.utils import timezone

from builds.models import Build
from builds.status import FINAL, RUNNING, Status, state_word

DAY = timedelta(days=1)
SAMPLES = 500
"""Number of most recent builds used for durations."""
UNENDED = (Status.QUEUED, *sorted(RUNNING))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Length of the queue."""

    waiting: int
    running: int
    oldest_wait: float
    """Seconds since the oldest waiting build was queued; 0 if none waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """Builds that ended within one hour, by public status word."""

    begins: datetime
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    took: float | None = None
    """Mean duration in seconds of successful builds."""

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The last 24 full hours and the current one."""

    hours: Sequence[Hour]
    typical: float | None
    """Median duration in seconds of recent successful builds."""
    slow: float | None
    """90th percentile of the same, in seconds."""

    @property
    def succeeded(self) -> int:
        return sum(hour.succeeded for hour in self.hours)

    @property
    def failed(self) -> int:
        return sum(hour.failed for hour in self.hours)

    @property
    def cancelled(self) -> int:
        return sum(hour.cancelled for hour in self.hours)

    @property
    def success_rate(self) -> float | None:
        """Share of successful builds among successful and failed ones; None if there are none."""
        told = self.succeeded + self.failed
        return self.succeeded / told if told else None


def unended() -> dict[Status, int]:
    """Number of builds in each status that is not final."""
    found = Build.objects.filter(status=Status.QUEUED).values("status").annotate(n=Count("*"))
    running = Build.objects.running().values("status").annotate(n=Count("*"))
    counts = {Status(row["status"]): row["n"] for row in (*found, *running)}
    return {status: counts.get(status, 0) for status in UNENDED}


def oldest_wait() -> float:
    """Seconds since the oldest waiting build was queued; 0 if none waits."""
    since = Build.objects.filter(status=Status.QUEUED).aggregate(at=Min("queued_at"))["at"]
    return max(0.0, (timezone.now() - since).total_seconds()) if since else 0.0


def queue() -> Queue:
    """Current length of the queue."""
    counts = unended()
    waiting = counts.pop(Status.QUEUED)
    wait = oldest_wait() if waiting else 0.0
    return Queue(waiting=waiting, running=sum(counts.values()), oldest_wait=wait)


def last_day() -> Day:
    """Builds that ended in the last 24 hours, per hour."""
    now = timezone.now()
    first = (now - DAY).replace(minute=0, second=0, microsecond=0)
    rows = (
        Build.objects.filter(ended_at__gte=first)
        .values("status", hour=TruncHour("ended_at"))
        .annotate(n=Count("*"), took=Avg(F("ended_at") - F("started_at")))
        .order_by()
    )
    counts: dict[datetime, dict[str, Any]] = {}
    for row in rows:
        words = counts.setdefault(row["hour"], {})
        word = state_word(Status(row["status"]))
        words[word] = words.get(word, 0) + row["n"]
        if word == "succeeded" and row["took"] is not None:
            words["took"] = row["took"].total_seconds()
    begins = [first + timedelta(hours=n) for n in range(25)]
    hours = [Hour(begins=each, **counts.get(each, {})) for each in begins]
    ended = Build.objects.filter(ended_at__gte=first).order_by("-ended_at")
    lately = ended.values_list("status", "started_at", "ended_at")[:SAMPLES]
    took = [
        (end - start).total_seconds()
        for status, start, end in lately
        if status == Status.SUCCEEDED and start and end
    ]
    return Day(hours=hours, typical=_quantile(took, 5), slow=_quantile(took, 9))


def failures(limit: int) -> Sequence[Build]:
    """Up to `limit` failed builds of the last day, newest first, whoever has to act."""
    failed = [Status.FAILED, Status.LOST]
    found = Build.objects.filter(ended_at__gte=timezone.now() - DAY, status__in=failed)
    return list(found.light().order_by("-ended_at")[:limit])


def our_failures(limit: int) -> Sequence[Build]:
    """Up to `limit` builds of the last day that failed through Slipway's fault, newest first."""
    found = Build.objects.filter(
        ended_at__gte=timezone.now() - DAY, status__in=FINAL, failure_fault="service"
    )
    return list(found.light().order_by("-ended_at")[:limit])


def _quantile(values: Sequence[float], tenth: int) -> float | None:
    if len(values) < 2:  # noqa: PLR2004  (what quantiles needs)
        return values[0] if values else None
    return quantiles(values, n=10)[tenth - 1]
