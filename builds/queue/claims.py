"""The move of a build from queued to building, compiled once.

It is `BuildQuerySet.move` of one build that is open to a worker. To compile that anew takes longer
than all statements of a claim.
"""

from datetime import datetime
from functools import cache, reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from builds.models import Build, BuildQuerySet
from builds.models.clock import from_now
from builds.models.targets import targets
from builds.status import Status, sources, state_word
from database.prepared_queries import Prepared, PreparedUpdate


def start(
    build_id: UUID, worker: str, *, classes: tuple[str, ...], now: datetime, lease_seconds: float
) -> bool:
    """Whether it was this worker that moved it."""
    with transaction.atomic(savepoint=False):
        held = _TARGET.rows(build_id)  # locked before its build
        started = bool(_started(classes, lease_seconds).run(build_id, worker, now))
        if started and held:
            _TARGET_STARTED.run(build_id)
        return started


def _target(build_id: UUID) -> Any:
    return targets().select_for_update().filter(current=build_id).values_list("pk")


def _target_started(build_id: UUID) -> tuple[Any, dict[str, Any]]:
    return targets().filter(current=build_id), {"state": state_word(Status.BUILDING)}


_TARGET = Prepared(_target, UUID)
_TARGET_STARTED = PreparedUpdate(_target_started, UUID)


@cache
def _started(classes: tuple[str, ...], lease_seconds: float) -> PreparedUpdate:
    def make(build_id: UUID, worker: str, now: datetime) -> tuple[BuildQuerySet, dict[str, Any]]:
        builds = Build.objects.filter(pk=build_id, status__in=sources(Status.BUILDING))
        builds = builds.open_to(worker)
        if classes:
            builds = builds.filter(reduce(or_, (Q(resource_class=name) for name in classes)))
        return builds, {
            "status": Status.BUILDING,
            "worker": worker,
            "fence": F("fence") + 1,
            "lease_until": from_now(lease_seconds),
            "started_at": now,
        }

    return PreparedUpdate(make, UUID, str, datetime)
