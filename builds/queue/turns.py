"""Fair order of the queue: which build a worker takes next, and its cost in virtual time.

Owners with the lowest load (running builds by weight) go first; among equals the one with the
lowest turn. Every statement reads a few rows of an index, however long the queue is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial, reduce
from operator import itemgetter, or_
from typing import Any, cast
from uuid import UUID

from django.db.models import Exists, F, FloatField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Greatest

from builds.conf import build_settings
from builds.models import Build, BuildQuerySet, Pause, QueueLine, QueueOwner, Worker
from builds.queue.simulation import LEAST_STEP
from database.prepared_queries import Prepared, PreparedUpdate


def next_build(
    worker: str, *, classes: Collection[str] = (), held: Collection[UUID] = ()
) -> UUID | None:
    """The build that this worker should take next. Another worker may take it first.

    `classes` are the resource classes that it takes, empty for all. `held` are skipped.
    """
    if is_closed_to(worker):
        return None
    asked = _asked(tuple(classes), most_running())
    others = list(held)
    for some in (asked.front, asked.retries):
        for (first,) in some.rows(worker, others):
            return cast("UUID", first)
    # If other threads of this worker hold all builds of a line, the next line is used.
    lines = [row for some in asked.lines for row in some.rows(len(others) + 1, 0)]
    for owner_id, resource_class, *_ in sorted(lines, key=itemgetter(2, 3, 4, 5)):
        for (first,) in asked.in_line.rows(worker, others, owner_id, resource_class):
            return cast("UUID", first)
    return None


def ready_builds(worker: str, *, classes: Collection[str] = (), most: int) -> list[UUID]:
    """Up to `most` builds that this worker could take now."""
    if most <= 0 or is_closed_to(worker):
        return []
    queued = _takeable(worker, classes)
    found = list(moved_to_front(queued).values_list("pk", flat=True)[:most])
    default = most_running()
    again = _with_room(retries(queued), default)
    found += again.values_list("pk", flat=True)[: most - len(found)]
    lines = lines_with_room(default)
    if classes:
        lines = lines.filter(resource_class__in=classes)
    for line in lines[:most]:
        own = queued.filter(owner_id=line.owner_id, resource_class=line.resource_class)
        found += in_line(own).values_list("pk", flat=True)[: most - len(found)]
    return found


def is_closed_to(worker: str) -> bool:
    """Whether the queue is paused or this worker drains."""
    return bool(_CLOSED.rows(worker))


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


def lines_with_room(default: int | None) -> "QuerySet[QueueLine]":
    """Lines of owners below their limit, in order."""
    return QueueLine.objects.filter(_room("owner__running", "owner__most_running", default))


def pay(build: Build) -> bool:
    """Advance the owner's virtual time for a build that was just taken. False if the owner is over
    the limit.

    Call it in the transaction that took the build; a trigger has then locked the owner's row.
    """
    if build.front < 0:
        return True
    has_room, owner_pays = _payment(most_running())
    if build.not_before is not None:
        return bool(has_room.rows(build.owner_id))
    return bool(owner_pays.run(build.owner_id))


@cache
def _payment(default: int | None) -> tuple[Prepared, PreparedUpdate]:
    """A query whether the owner is below the limit, and an update that then charges the owner."""

    def with_room(owner_id: UUID) -> "QuerySet[QueueOwner]":
        # `running` already includes this build.
        found = QueueOwner.objects.filter(pk=owner_id)
        return found.filter(_room("running", "most_running", default, taken=1))

    def paying(owner_id: UUID) -> "tuple[QuerySet[QueueOwner], dict[str, Any]]":
        latest = QueueOwner.objects.order_by("-started_turn").values("started_turn")[:1]
        step = Subquery(latest, output_field=FloatField()) + LEAST_STEP
        now = Greatest(F("turn"), Coalesce(step, 0.0))
        return with_room(owner_id), {"started_turn": now, "turn": now + 1.0 / F("weight")}

    return (
        Prepared(lambda owner_id: with_room(owner_id).values_list("pk"), UUID),
        PreparedUpdate(paying, UUID),
    )


def most_running() -> int | None:
    """Default limit of concurrent builds per owner; None for no limit."""
    return build_settings().owner_builds


def _room(running: str, most: str, default: int | None, *, taken: int = 0) -> Q:
    """Condition: the owner is below the limit, if `taken` of the running builds are not counted."""
    own = Q(**{f"{running}__lt": F(most) + taken})
    if default is None:
        return Q(**{most: None}) | own
    return own | Q(**{most: None, f"{running}__lt": default + taken})


def _with_room(builds: BuildQuerySet, default: int | None) -> BuildQuerySet:
    owner = QueueOwner.objects.filter(pk=OuterRef("owner_id"))
    return builds.filter(Exists(owner.filter(_room("running", "most_running", default))))


def _takeable(worker: str, classes: Collection[str]) -> BuildQuerySet:
    queued = queued_builds().open_to(worker)
    return queued.filter(resource_class__in=classes) if classes else queued


def _closed(worker: str) -> Any:
    drains = Worker.objects.draining().filter(pk=worker)
    return Pause.objects.values_list(Value(1)).union(drains.values_list(Value(1)))


_CLOSED = Prepared(_closed, str)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The statements of `next_build`, compiled once as that takes longer than running them."""

    front: Prepared
    retries: Prepared
    lines: Sequence[Prepared]
    """One per class, so that each uses an index for its order."""
    in_line: Prepared


@cache
def _asked(classes: tuple[str, ...], most: int | None) -> _Asked:
    """The statements for a worker with these classes and this default limit of an owner."""

    def queued(worker: str, held: Collection[UUID]) -> BuildQuerySet:
        # Not `__in`: `Prepared` would take it for a list argument.
        of_class = [Q(resource_class=name) for name in classes]
        found = queued_builds().open_to(worker).exclude(pk__in=held)
        return found.filter(reduce(or_, of_class)) if of_class else found

    def front(worker: str, held: Collection[UUID]) -> Any:
        return moved_to_front(queued(worker, held)).values_list("pk")[:1]

    def again(worker: str, held: Collection[UUID]) -> Any:
        return _with_room(retries(queued(worker, held)), most).values_list("pk")[:1]

    def first(worker: str, held: Collection[UUID], owner_id: UUID, resource_class: str) -> Any:
        found = queued_builds().open_to(worker).exclude(pk__in=held)
        own = found.filter(owner_id=owner_id, resource_class=resource_class)
        return in_line(own).values_list("pk")[:1]

    def lines(**wanted: str) -> Any:
        found = lines_with_room(most).filter(**wanted)
        return found.values_list("owner_id", "resource_class", "precedence", "load", "turn", "pk")

    wanted = [{"resource_class": name} for name in classes] or [{}]
    return _Asked(
        front=Prepared(front, str, list),
        retries=Prepared(again, str, list),
        lines=[Prepared(partial(lines, **each), limited=True) for each in wanted],
        in_line=Prepared(first, str, list, UUID, str),
    )
