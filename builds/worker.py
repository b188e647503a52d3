"""This process as a worker: its name, the builds it holds, and whether it is to stop."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from math import inf
from time import monotonic
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.db.models import F
from django.utils import timezone

from builds.conf import build_settings
from builds.models import Build
from builds.status import Status


class Worker:
    """One per process. Its threads run builds; its housekeeping renews their leases."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._held: set[UUID] = set()
        self._away_at = -inf

    @contextmanager
    def claim(self, build_id: UUID) -> Iterator[Build | None]:
        """Compare-and-set from queued to building; None where somebody else was first.

        The build counts as held, and its lease is renewed, until the block ends.
        """
        now = timezone.now()
        # Held before it is claimed: a lease must never be older than the housekeeping's knowledge.
        with self._lock:
            if build_id in self._held:
                # A second delivery in the same process: the first is at work.
                claimed = False
            else:
                self._held.add(build_id)
                claimed = True
        if not claimed:
            yield None
            return
        try:
            moved = not self.stopping.is_set() and Build.objects.filter(pk=build_id).move(
                Status.BUILDING,
                worker=self.name,
                fence=F("fence") + 1,
                lease_until=self._lease(),
                started_at=now,
            )
            yield Build.objects.get(pk=build_id) if moved else None
        finally:
            with self._lock:
                self._held.discard(build_id)

    def renew(self) -> None:
        """Says for the held builds that their worker lives."""
        held = Build.objects.running().filter(pk__in=self.held(), worker=self.name)
        try:
            held.update(lease_until=self._lease())
        except (OperationalError, InterfaceError):
            self._away_at = monotonic()
            raise

    @property
    def trusts_leases(self) -> bool:
        """Not after the database was away, until all that live have had time to renew theirs."""
        return monotonic() - self._away_at > build_settings().lease_seconds

    def held(self) -> frozenset[UUID]:
        with self._lock:
            return frozenset(self._held)

    def _lease(self) -> object:
        return timezone.now() + timedelta(seconds=build_settings().lease_seconds)


WORKER = Worker()
