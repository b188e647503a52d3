"""Data of the system page: few queries, and no measurements during the request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from platform import python_version
from typing import Any

import django
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from dramatiq.brokers.redis import RedisBroker
from redis.exceptions import RedisError

from builds import statistics
from builds.broker import broker
from builds.models import Build, Pause, Worker
from builds.models.incidents import Incident
from common.humanize import duration
from observability.health_poll import CHECKUP

SHOWN = 10
WIDTH, HEIGHT, GAP, DOT = 600, 100, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """A worker and the builds that it runs."""

    worker: Worker
    builds: Sequence[Build]

    @property
    def word(self) -> str:
        if self.worker.silent:
            return "silent"
        if self.worker.quarantined:
            return "quarantined"
        if not self.worker.draining:
            return "working" if self.builds else "idle"
        return "draining" if self.builds else "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Disk use of one host, in bytes."""

    host: str
    at: datetime
    parts: Mapping[str, int]
    used: int
    budget: int
    free: int

    @property
    def percent(self) -> float:
        return 100 * self.used / self.budget if self.budget else 0.0

    @property
    def over(self) -> bool:
        return self.used > self.budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The builds of one hour and one status in the plot, in the plot's units."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """The mean duration of one hour's builds, in the plot's units."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Data of the system page. The admin's front page uses a part of it."""

    queue: statistics.Queue
    pause: Pause | None
    hands: Sequence[Hand]
    day: statistics.Day
    failures: Sequence[Build]
    bars: Sequence[Bar] = ()
    dots: Sequence[Dot] = ()
    disks: Sequence[Disk] = ()
    versions: Sequence[tuple[str, str]] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    our_failures: Sequence[Build] = ()
    incidents: Sequence[Incident] = ()
    switched: Sequence[LogEntry] = ()

    @property
    def most_ended(self) -> int:
        """Most builds that ended within one hour: the height of the plot."""
        return max((hour.ended for hour in self.day.hours), default=0)

    @property
    def longest(self) -> float | None:
        """Mean duration of the slowest hour, in seconds: the height of the other plot."""
        return max((hour.took for hour in self.day.hours if hour.took is not None), default=None)

    @property
    def alive(self) -> int:
        return sum(not hand.worker.silent for hand in self.hands)


def summary() -> System:
    """Data for the admin's front page."""
    return System(
        queue=statistics.queue(),
        pause=Pause.objects.first(),
        hands=_hands(),
        day=statistics.last_day(),
        failures=statistics.failures(5),
    )


def whole() -> System:
    """Data for the system page."""
    hands, day = _hands(), statistics.last_day()
    kinds = ContentType.objects.get_for_models(Pause, Worker).values()
    switched = LogEntry.objects.filter(content_type__in=kinds).select_related("user")
    return System(
        queue=statistics.queue(),
        pause=Pause.objects.first(),
        hands=hands,
        day=day,
        failures=statistics.failures(SHOWN),
        bars=_bars(day),
        dots=_dots(day),
        disks=_disks(hands),
        versions=_versions(hands),
        parts=CHECKUP.look(),
        our_failures=statistics.our_failures(SHOWN),
        incidents=list(Incident.objects.order_by("-pk")[:SHOWN]),
        switched=list(switched.order_by("-action_time")[:SHOWN]),
    )


def _hands() -> Sequence[Hand]:
    running = list(Build.objects.running().light().order_by("started_at"))
    return [
        Hand(worker=worker, builds=[each for each in running if each.worker == worker.name])
        for worker in Worker.objects.with_silence().order_by("host", "started_at")
    ]


def _bars(day: statistics.Day) -> Sequence[Bar]:
    most = max((hour.ended for hour in day.hours), default=0) or 1
    width = WIDTH / len(day.hours)
    bars = []
    for n, hour in enumerate(day.hours):
        top = float(HEIGHT)
        for kind in ("succeeded", "failed", "cancelled"):
            count = getattr(hour, kind)
            height = HEIGHT * count / most
            top -= height
            if count:
                bars.append(
                    Bar(
                        x=round(n * width + GAP / 2, 1),
                        y=round(top, 1),
                        width=round(width - GAP, 1),
                        height=round(height, 1),
                        kind=kind,
                        text=f"{hour.begins:%H}:00 UTC: {count} {kind}",
                    )
                )
    return bars


def _dots(day: statistics.Day) -> Sequence[Dot]:
    most = max((hour.took or 0 for hour in day.hours), default=0) or 1
    width = WIDTH / len(day.hours)
    return [
        Dot(
            x=round((n + 0.5) * width, 1),
            y=round(HEIGHT * (1 - hour.took / most) + DOT, 1),
            text=f"{hour.begins:%H}:00 UTC: {duration(hour.took)} on average",
        )
        for n, hour in enumerate(day.hours)
        if hour.took is not None
    ]


def _disks(hands: Sequence[Hand]) -> Sequence[Disk]:
    """The newest measurement of each host."""
    newest: dict[str, dict[str, Any]] = {}
    for hand in hands:
        found, host = hand.worker.machine, hand.worker.host
        if found and (host not in newest or found["at"] > newest[host]["at"]):
            newest[host] = found
    return [
        Disk(
            host=host,
            at=datetime.fromisoformat(found["at"]),
            parts=dict(sorted(found["parts"].items())),
            used=found["used"],
            budget=found["budget"],
            free=found["free"],
        )
        for host, found in newest.items()
    ]


def _versions(hands: Sequence[Hand]) -> Sequence[tuple[str, str]]:
    """Names and versions of this process, the servers, and workers' programs that differ."""
    found = [
        ("Slipway", settings.VERSION),
        ("Django", django.get_version()),
        ("Python", python_version()),
        *_servers(),
    ]
    told: dict[str, set[str]] = {}
    for hand in hands:
        for name, version in hand.worker.machine.get("programs", {}).items():
            told.setdefault(name, set()).add(version)
        told.setdefault("slipway", set()).add(hand.worker.version)
    ours = {"slipway": {settings.VERSION}, "python": {python_version()}}
    rows = [(name, ", ".join(sorted(told[name]))) for name in told if told[name] != ours.get(name)]
    return [*found, *((f"{name} (workers)", versions) for name, versions in rows)]


@cache
def _database() -> tuple[str, str]:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT sqlite_version()")
            return "SQLite", str(cursor.fetchone()[0])
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return "PostgreSQL", str(cursor.fetchone()[0])


def _servers() -> Sequence[tuple[str, str]]:
    found = [_database()]
    if isinstance(broker, RedisBroker):
        try:
            found.append(("Redis", str(broker.client.info("server")["redis_version"])))
        except RedisError:
            found.append(("Redis", "does not answer"))
    return found
