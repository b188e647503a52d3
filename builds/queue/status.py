"""Status of waiting builds: position, reasons and estimated start. Computed only here.

API, pages, admin, websockets and streams show these texts.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf, sqrt
from threading import Lock
from time import monotonic
from typing import Self
from uuid import UUID

from builds.models import Build
from builds.queue.forecast import Forecast, Place
from builds.queue.reasons import STANDSTILL, Reason
from builds.queue.slots import Slots
from builds.status import Status
from common.humanize import within

SPREAD = 1.28
"""Half-width of the range in standard deviations: 80 % of builds start within it."""
SHARED_SECONDS = 1.0
"""How long the threads of a process share one view."""
PAUSES = 4
"""Minimum time between views made for new builds, as a multiple of the time the last view took."""
SOON_SECONDS = 10.0
"""Within how many seconds a build starts if a slot is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Estimated start, as a range in seconds from now."""

    low: float
    high: float

    @property
    def text(self) -> str:
        return within(self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """Queue status of one waiting build."""

    position: int | None
    """From 1. None if it is beyond `forecast.PLACES`, or no worker takes its class."""
    reasons: tuple[Reason, ...]
    """Most important first; at least one."""
    estimate: Estimate | None
    """None if no build starts, or too little is known."""

    @property
    def place(self) -> str:
        """The position in words, such as `position 3 in the queue`."""
        if self.position is None:
            return "in the queue"
        return (
            "next in the queue"
            if self.position == 1
            else f"position {self.position:,} in the queue"
        )

    @property
    def text(self) -> str:
        """Position and estimate in words."""
        return f"{self.place}, starts {self.estimate.text}" if self.estimate else self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """Snapshot of the queue, shared by everything on a page or in a response."""

    slots: Slots
    forecast: Forecast

    @classmethod
    def now(cls) -> Self:
        """Take a snapshot with at most ten queries of a bounded number of rows."""
        slots = Slots.read()
        return cls(slots=slots, forecast=Forecast.of(slots))

    def position(self, build_id: UUID) -> int | None:
        """Position from 1; None if the build is beyond `forecast.PLACES`."""
        place = self.forecast.places.get(build_id)
        return place.number if place else None

    def of(self, build: Build) -> QueueStatus:
        """Status of a waiting build."""
        place = self.forecast.places.get(build.pk)
        reasons = tuple(self._reasons(build, place))
        return QueueStatus(
            position=place.number if place else None,
            reasons=reasons,
            estimate=self._estimate(place, reasons),
        )

    def _reasons(self, build: Build, place: Place | None) -> Iterator[Reason]:
        yield from self.slots.closed()
        takers = self.slots.taking(build.resource_class)
        if self.slots.workers and not takers:
            text = f"No worker takes builds of the class “{build.resource_class}” now."
            yield Reason(code="no-worker-for-class", text=text)
        left = (build.not_before - self.slots.now).total_seconds() if build.not_before else 0.0
        if build.waiting_for or left > 0:
            why = build.waiting_for or "waiting for the next attempt"
            again = f"; it is tried again in {left:.0f} s" if left > 0 else ""
            text = f"{why[:1].upper()}{why[1:]}{again}."
            yield Reason(code="retry", text=text)
        most = self.forecast.full.get(build.owner_id)
        if most is not None and build.front >= 0:
            yield Reason(code="owner-limit", text=_limit(most))
        elif self.slots.workers and takers and left <= 0:
            yield self._taken(takers, place)

    def _taken(self, takers: int, place: Place | None) -> Reason:
        if place and place.at <= 0 and not self.slots.pause:
            return Reason(code="starting", text="A worker is free: it starts within seconds.")
        whole = f"All {takers} build slots are" if takers > 1 else "The only build slot is"
        return Reason(code="busy", text=f"{whole} busy, or others are first.")

    def _estimate(self, place: Place | None, reasons: Sequence[Reason]) -> Estimate | None:
        if place is None or any(each.code in STANDSTILL for each in reasons):
            return None
        if place.at <= 0:
            return Estimate(low=0, high=SOON_SECONDS)
        if not self.forecast.sure:
            return None
        around = SPREAD * sqrt(place.variance)
        return Estimate(low=max(0.0, place.at - around), high=place.at + around)


class SharedView:
    """Caches one `QueueView` for all threads of a process, as making it takes some 10 ms."""

    def __init__(self) -> None:
        self._making = Lock()
        self._view: QueueView | None = None
        self._made_at = -inf
        self._cost = 0.0

    def get(self, sent_at: datetime | None = None) -> QueueView:
        """A view at most `SHARED_SECONDS` old, or twice that while another thread makes one.

        With `sent_at`, a view older than that build is replaced, but not more often than `PAUSES`
        allows: the build may have no position until the next view.
        """
        # Never block: the thread that makes a view may wait for a database connection that the
        # threads that wait for the view hold.
        if not self._making.acquire(blocking=False):
            recent = monotonic() - self._made_at < 2 * SHARED_SECONDS
            return self._view if self._view and recent else QueueView.now()
        try:
            view = self._view
            if view is None or self._is_old(view, sent_at):
                began = monotonic()
                view = self._view = QueueView.now()
                self._made_at = monotonic()
                self._cost = self._made_at - began
            return view
        finally:
            self._making.release()

    def _is_old(self, view: QueueView, sent_at: datetime | None) -> bool:
        age = monotonic() - self._made_at
        if age >= SHARED_SECONDS:
            return True
        lacks = sent_at is not None and sent_at > view.slots.now
        return lacks and age >= PAUSES * self._cost


shared_view = SharedView()


def queue_statuses(build_ids: Collection[UUID]) -> dict[UUID, QueueStatus]:
    """Status of those builds that wait. At most eleven queries, however long the queue is."""
    if not build_ids:
        return {}
    waiting = Build.objects.filter(pk__in=build_ids, status=Status.QUEUED).light()
    builds = list(waiting)
    if not builds:
        return {}
    view = shared_view.get(max(build.queued_at for build in builds))
    return {build.pk: view.of(build) for build in builds}


def _limit(most: int) -> str:
    if not most:
        return "No build of its owner may run now."
    builds = "1 build" if most == 1 else f"{most} builds"
    return f"Its owner has {builds} running, as many as may run at once."
