"""Fair order of the queue: which build a worker takes next, and its cost in virtual time.

Owners with the lowest load (running builds by weight) go first; among equals the one with the
lowest turn. Every statement reads a few rows of an index, however long the queue is.
"""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Exists, F, FloatField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Greatest

from builds.conf import build_settings
from builds.models import Build, BuildQuerySet, Pause, QueueLine, QueueOwner, Worker
from builds.queue.simulation import LEAST_STEP


def next_build(
    worker: str, *, classes: Collection[str] = (), held: Collection[UUID] = ()
) -> UUID | None:
    """The build that this worker should take next. Another worker may take it first.

    `classes` are the resource classes that it takes, empty for all. `held` are skipped.
    """
    if is_closed_to(worker):
        return None
    queued = _takeable(worker, classes).exclude(pk__in=held)
    for some in (moved_to_front(queued), _with_room(retries(queued))):
        first: UUID | None = some.values_list("pk", flat=True).first()
        if first is not None:
            return first
    return _first_of_lines(queued, classes, len(held))


def ready_builds(worker: str, *, classes: Collection[str] = (), most: int) -> list[UUID]:
    """Up to `most` builds that this worker could take now."""
    if most <= 0 or is_closed_to(worker):
        return []
    queued = _takeable(worker, classes)
    found = list(moved_to_front(queued).values_list("pk", flat=True)[:most])
    again = _with_room(retries(queued))
    found += again.values_list("pk", flat=True)[: most - len(found)]
    lines = lines_with_room().filter(resource_class__in=classes) if classes else lines_with_room()
    for line in lines[:most]:
        own = queued.filter(owner_id=line.owner_id, resource_class=line.resource_class)
        found += in_line(own).values_list("pk", flat=True)[: most - len(found)]
    return found


def is_closed_to(worker: str) -> bool:
    """Whether the queue is paused or this worker drains."""
    drains = Worker.objects.draining().filter(pk=worker)
    closed = Pause.objects.values_list(Value(1)).union(drains.values_list(Value(1)))
    return bool(closed)


def queued_builds() -> BuildQuerySet:
    """Queued builds, with the exact condition of the queue's partial indexes, as SQLite
    requires."""
    return Build.objects.filter(status__one_of=("queued",))


def moved_to_front(builds: BuildQuerySet) -> BuildQuerySet:
    """Builds that operators moved: before all others, without regard to limits."""
    return builds.filter(front__lt=0).order_by("front", "queued_at", "id")


def retries(builds: BuildQuerySet) -> BuildQuerySet:
    """Builds that are retried. They do not wait for another turn."""
    again = builds.filter(front=0, not_before__isnull=False)
    return again.order_by("not_before", "queued_at", "id")


def in_line(builds: BuildQuerySet) -> BuildQuerySet:
    """Builds waiting for their turn, in the order within their lines."""
    return builds.filter(front=0, not_before=None).order_by("queued_at", "id")


def lines_with_room() -> "QuerySet[QueueLine]":
    """Lines of owners below their limit, in order."""
    lines = QueueLine.objects.all()
    return lines.filter(_room("owner__running", "owner__most_running"))


def pay(build: Build) -> bool:
    """Advance the owner's virtual time for a build that was just taken. False if the owner is over
    the limit.

    Call it in the transaction that took the build; a trigger has then locked the owner's row.
    """
    owner = QueueOwner.objects.filter(pk=build.owner_id)
    if build.front < 0:
        return True
    # `running` already includes this build.
    owner = owner.filter(_room("running", "most_running", taken=1))
    if build.not_before is not None:
        return owner.exists()
    latest = QueueOwner.objects.order_by("-started_turn").values("started_turn")[:1]
    step = Subquery(latest, output_field=FloatField()) + LEAST_STEP
    now = Greatest(F("turn"), Coalesce(step, 0.0))
    return bool(owner.update(started_turn=now, turn=now + 1.0 / F("weight")))


def most_running() -> int | None:
    """Default limit of concurrent builds per owner; None for no limit."""
    return build_settings().owner_builds


def _room(running: str, most: str, *, taken: int = 0) -> Q:
    """Condition: the owner is below the limit, if `taken` of the running builds are not counted."""
    default = most_running()
    own = Q(**{f"{running}__lt": F(most) + taken})
    if default is None:
        return Q(**{most: None}) | own
    return own | Q(**{most: None, f"{running}__lt": default + taken})


def _with_room(builds: BuildQuerySet) -> BuildQuerySet:
    owner = QueueOwner.objects.filter(pk=OuterRef("owner_id"))
    return builds.filter(Exists(owner.filter(_room("running", "most_running"))))


def _takeable(worker: str, classes: Collection[str]) -> BuildQuerySet:
    queued = queued_builds().open_to(worker)
    return queued.filter(resource_class__in=classes) if classes else queued


def _first_of_lines(queued: BuildQuerySet, classes: Collection[str], held: int) -> UUID | None:
    lines = lines_with_room()
    found: list[QueueLine] = []
    # One query per class, so that each uses an index for its order. If other threads of this worker
    # hold all builds of a line, the next line is used; hence `held + 1` lines.
    for some in [lines.filter(resource_class=name) for name in classes] or [lines]:
        found += some[: held + 1]
    for line in sorted(found, key=order_of):
        own = queued.filter(owner_id=line.owner_id, resource_class=line.resource_class)
        first: UUID | None = in_line(own).values_list("pk", flat=True).first()
        if first is not None:
            return first
    return None


def order_of(line: QueueLine) -> tuple[float, ...]:
    """Sort key that gives the same order as the index of QueueLine."""
    return line.precedence, line.load, line.turn, line.pk
