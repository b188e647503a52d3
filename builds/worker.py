"""State of this process as a worker: name, held builds, stop and quarantine."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from logging import getLogger
from math import inf
from time import monotonic, sleep
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from builds.conf import build_settings
from builds.metrics import WAITED
from builds.models import Build
from builds.models.clock import Now, from_now
from builds.models.workers import Worker
from builds.quarantine import FAILURES, Quarantine
from builds.queue.claims import start
from builds.queue.turns import next_build, pay
from common.outages import DATABASE_OUTAGES

LOOK_SECONDS = 0.2
HAND_ON_SECONDS = 5.0
"""Time in seconds that an interrupted build needs to be settled and handed over."""
logger = getLogger(__name__)


class ThisWorker:
    """One per process. Its threads run builds; its housekeeping renews their leases."""

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self.name = f"{self.host}:{os.getpid()}:{secrets.token_hex(4)}"
        self.started_at = timezone.now()
        self.leaving = threading.Event()
        """Draining: it takes no more builds, and ends when the running ones have ended."""
        self.stopping = threading.Event()
        """Stopping: its builds are interrupted and retried by other workers."""
        self.helper_lost = False
        """Whether it stops because the helper that starts builders has died."""
        self._lock = threading.Lock()
        self._held: set[UUID] = set()
        self._resting = False
        self.quarantine = Quarantine()
        self._away_at = -inf

    @contextmanager
    def claim(self, build_id: UUID) -> Iterator[Build | None]:
        """Move a build from queued to building. Yields None if that is not possible.

        Reasons: another worker was first, the queue is paused, this worker drains or takes no
        builds, or the owner is at their limit. Until the block ends, the build counts as held and
        its lease is renewed.
        """
        now = timezone.now()
        # Mark it as held before the claim, so that the housekeeping renews the lease from the
        # start.
        with self._lock:
            if build_id in self._held or not self._taking:
                # Another thread of this process holds it, or this worker takes no builds.
                claimed = False
            else:
                self._held.add(build_id)
                claimed = True
        if not claimed:
            yield None
            return
        try:
            build = self._take(build_id, now)
            if build is not None:
                WAITED.observe((now - build.queued_at).total_seconds())
            yield build
        finally:
            with self._lock:
                self._held.discard(build_id)

    def _take(self, build_id: UUID, now: datetime) -> Build | None:
        """Claim the build and charge its owner's virtual time, in one transaction."""
        with transaction.atomic():
            moved = start(
                build_id,
                self.name,
                classes=build_settings().worker_classes,
                now=now,
                lease_seconds=build_settings().lease_seconds,
            )
            build = Build.objects.get(pk=build_id) if moved else None
            if build is not None and not pay(build):
                transaction.set_rollback(True)
                return None
            return build

    def next(self) -> UUID | None:
        """The build whose turn it is. None if there is none, or this worker takes no builds."""
        if not self._taking:
            return None
        return next_build(self.name, classes=build_settings().worker_classes, held=self.held())

    @contextmanager
    def rest(self) -> Iterator[bool]:
        """Yields whether it holds no build; if so, it takes none until the block ends.

        Builds that were queued meanwhile are found by the next run of the housekeeping.
        """
        with self._lock:
            alone = self._resting = not self._held
        try:
            yield alone
        finally:
            self._resting = False

    @property
    def threads(self) -> int:
        """Number of builds that it can run concurrently."""
        return build_settings().workers

    def free(self) -> int:
        """Number of free build slots; 0 if it takes no builds."""
        return self.threads - len(self.held()) if self._taking else 0

    @property
    def _taking(self) -> bool:
        leaving = self.leaving.is_set() or self.stopping.is_set()
        return not (leaving or self._resting or self.quarantine.active)

    def leave(self, grace_seconds: float) -> None:
        """Take no more builds, wait until the running ones have ended, then stop.

        After `grace_seconds`, or at a second signal, they are interrupted and continue on other
        workers.
        """
        self.leaving.set()
        until = monotonic() + grace_seconds
        try:
            if self.held() and not self.stopping.is_set():
                logger.info("waiting up to %.0f s for %d builds", grace_seconds, len(self.held()))
                _try_to_say_drained(self.name)
            while self.held() and monotonic() < until and not self.stopping.wait(LOOK_SECONDS):
                pass
        except (KeyboardInterrupt, SystemExit):
            self.stopping.set()
            until = monotonic() + HAND_ON_SECONDS
            while self.held() and monotonic() < until:
                sleep(LOOK_SECONDS)
            raise
        finally:
            self.stopping.set()

    def begin_quarantine(self, reason: str) -> None:
        """Take no more builds until the checks pass. Running builds continue."""
        wait = self.quarantine.begin(reason)
        logger.error("this worker takes no builds: %s; next check in %.0f s", reason, wait)
        own = Worker.objects.filter(pk=self.name)
        own.update(quarantine_reason=reason, quarantine_until=from_now(wait))
        own.filter(quarantined_at=None).update(quarantined_at=Now())

    def end_quarantine(self) -> None:
        """Take builds again, if in quarantine."""
        if not self.quarantine.active:
            return
        Worker.objects.filter(pk=self.name).update(
            quarantine_reason="", quarantine_until=None, quarantined_at=None
        )
        logger.warning("this worker takes builds again after: %s", self.quarantine.reason)
        self.quarantine.end()

    def note_failure(self, image_id: UUID, reason: str) -> None:
        """Record a build that failed through Slipway's fault. Begins a quarantine after several
        in a row."""
        if self.quarantine.note_failure(image_id):
            self.begin_quarantine(f"builds of {FAILURES} images in a row failed: {reason}")

    def sign_on(self) -> None:
        """Update this worker's row, or create it, and delete rows of workers not seen for long."""
        if not Worker.objects.filter(pk=self.name).update(seen_at=Now()):
            Worker.objects.create(
                name=self.name,
                host=self.host,
                pid=os.getpid(),
                threads=self.threads,
                resource_classes=list(build_settings().worker_classes),
                version=build_settings().version,
                started_at=self.started_at,
                seen_at=Now(),
                quarantined_at=Now() if self.quarantine.active else None,
                quarantine_reason=self.quarantine.reason,
            )
        Worker.objects.long_silent().delete()

    def sign_off(self) -> None:
        """Delete this worker's row."""
        Worker.objects.filter(pk=self.name).delete()

    def lose_helper(self) -> None:
        """The helper has died: take no more builds, and hand over the held ones, as the process
        must end."""
        self.helper_lost = True
        self.stopping.set()

    def draining(self) -> bool:
        """Whether an operator has asked this worker to drain."""
        return Worker.objects.draining().filter(pk=self.name).exists()

    def renew(self) -> None:
        """Renew the leases of the held builds. Raises OperationalError or InterfaceError."""
        held = Build.objects.running().filter(pk__in=self.held(), worker=self.name)
        try:
            held.update(lease_until=self._lease())
        except DATABASE_OUTAGES:
            self._away_at = monotonic()
            raise

    @property
    def trusts_leases(self) -> bool:
        """False after a database outage, until all live workers have had time to renew their
        leases."""
        return monotonic() - self._away_at > build_settings().lease_seconds

    def held(self) -> frozenset[UUID]:
        """Ids of the builds that this process holds."""
        with self._lock:
            return frozenset(self._held)

    def _lease(self) -> object:
        return from_now(build_settings().lease_seconds)


def _try_to_say_drained(name: str) -> None:
    """For the system page and other workers. Does not wait if the database is unavailable."""
    try:
        own = Worker.objects.filter(pk=name, drain_requested_at=None)
        own.update(drain_requested_at=timezone.now())
    except DATABASE_OUTAGES:
        logger.warning("the database is away; nobody is told that this worker leaves")


WORKER = ThisWorker()
