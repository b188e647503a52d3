"""Which build a worker takes next, and what its owner pays for it in virtual time.

Owners who run least for their weight go first, and among equals the one whose turn is lowest.
Every statement here reads a few rows of an index, however long the queue is.
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
    """The build that this worker takes next; it may be taken by another meanwhile.

    `classes` are the resource classes that it takes, all where there are none.
    """
    if is_closed_to(worker):
        return None
    asked = _asked(tuple(classes), most_running())
    others = list(held)
    for some in (asked.front, asked.retries):
        for (first,) in some.rows(worker, others):
            return cast("UUID", first)
    # All builds of a line may be held by other threads of this worker, and then it is the turn of
    # the next line.
    lines = [row for some in asked.lines for row in some.rows(len(others) + 1, 0)]
    for owner_id, resource_class, *_ in sorted(lines, key=itemgetter(2, 3, 4, 5)):
        for (first,) in asked.in_line.rows(worker, others, owner_id, resource_class):
            return cast("UUID", first)
    return None


def ready_builds(worker: str, *, classes: Collection[str] = (), most: int) -> list[UUID]:
    """Some builds that this worker could take now, at most so many."""
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
    """By the words of the condition that indexes of the queue have, which SQLite needs to see."""
    return Build.objects.filter(status__one_of=("queued",))


def moved_to_front(builds: BuildQuerySet) -> BuildQuerySet:
    """Those that operators moved: before all others, whatever their owners run."""
    return builds.filter(front__lt=0).order_by("front", "queued_at", "id")


def retries(builds: BuildQuerySet) -> BuildQuerySet:
    """Those that are tried again: they had their turn."""
    again = builds.filter(front=0, not_before__isnull=False)
    return again.order_by("not_before", "queued_at", "id")


def in_line(builds: BuildQuerySet) -> BuildQuerySet:
    """Those that wait for their turn, in the order within their lines."""
    return builds.filter(front=0, not_before=None).order_by("queued_at", "id")


def lines_with_room(default: int | None) -> "QuerySet[QueueLine]":
    """Lines of owners who may run more, in their order."""
    return QueueLine.objects.filter(_room("owner__running", "owner__most_running", default))


def pay(build: Build) -> bool:
    """Moves the owner of a build that was just taken on. False where it runs too many.

    Called in the transaction that took the build, which has locked the owner's row by a trigger.
    """
    if build.front < 0:
        return True
    has_room, owner_pays = _payment(most_running())
    if build.not_before is not None:
        return bool(has_room.rows(build.owner_id))
    return bool(owner_pays.run(build.owner_id))


@cache
def _payment(default: int | None) -> tuple[Prepared, PreparedUpdate]:
    """Whether an owner still has room, and the same with what the owner pays."""

    def with_room(owner_id: UUID) -> "QuerySet[QueueOwner]":
        # `running` has this build already.
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
    """Builds of one owner at once where nothing else is said; None for no limit."""
    return build_settings().owner_builds


def _room(running: str, most: str, default: int | None, *, taken: int = 0) -> Q:
    """Whether an owner may run one more than `running`, of which so many are just taken."""
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
    """The statements of `next_build`. To compile them takes longer than to run them."""

    front: Prepared
    retries: Prepared
    lines: Sequence[Prepared]
    """Of each class one: an index has the order of one."""
    in_line: Prepared


@cache
def _asked(classes: tuple[str, ...], most: int | None) -> _Asked:
    """For the settings of a worker: the classes that it takes, and most builds of one owner."""

    def queued(worker: str, held: Collection[UUID]) -> BuildQuerySet:
        # Not `__in`, which would look like a list that is given later.
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
