"""Which build a worker takes next, and what its owner pays for it in virtual time.

Owners who run least for their weight go first, and among equals the one whose turn is lowest.
Every statement here reads a few rows of an index, however long the queue is.
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
    """The build that this worker takes next; it may be taken by another meanwhile.

    `classes` are the resource classes that it takes, all where there are none.
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
    """Some builds that this worker could take now, at most so many."""
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


def lines_with_room() -> "QuerySet[QueueLine]":
    """Lines of owners who may run more, in their order."""
    lines = QueueLine.objects.all()
    return lines.filter(_room("owner__running", "owner__most_running"))


def pay(build: Build) -> bool:
    """Moves the owner of a build that was just taken on. False where it runs too many.

    Called in the transaction that took the build, which has locked the owner's row by a trigger.
    """
    owner = QueueOwner.objects.filter(pk=build.owner_id)
    if build.front < 0:
        return True
    # `running` has this build already.
    owner = owner.filter(_room("running", "most_running", taken=1))
    if build.not_before is not None:
        return owner.exists()
    latest = QueueOwner.objects.order_by("-started_turn").values("started_turn")[:1]
    step = Subquery(latest, output_field=FloatField()) + LEAST_STEP
    now = Greatest(F("turn"), Coalesce(step, 0.0))
    return bool(owner.update(started_turn=now, turn=now + 1.0 / F("weight")))


def most_running() -> int | None:
    """Builds of one owner at once where nothing else is said; None for no limit."""
    return build_settings().owner_builds


def _room(running: str, most: str, *, taken: int = 0) -> Q:
    """Whether an owner may run one more than `running`, of which so many are just taken."""
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
    # One of its own for each class: an index has the order of one. All builds of a line may be
    # held by other threads of this worker, and then it is the turn of the next line.
    for some in [lines.filter(resource_class=name) for name in classes] or [lines]:
        found += some[: held + 1]
    for line in sorted(found, key=order_of):
        own = queued.filter(owner_id=line.owner_id, resource_class=line.resource_class)
        first: UUID | None = in_line(own).values_list("pk", flat=True).first()
        if first is not None:
            return first
    return None


def order_of(line: QueueLine) -> tuple[float, ...]:
    return line.precedence, line.load, line.turn, line.pk
