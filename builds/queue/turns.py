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
from builds.status import Status


def next_build(
    worker: str, *, classes: Collection[str] = (), held: Collection[UUID] = ()
) -> UUID | None:
    """The build that this worker takes next; it may be taken by another meanwhile.

    `classes` are the resource classes that it takes, all where there are none.
    """
    if is_closed_to(worker):
        return None
    queued = _takeable(worker, classes).exclude(pk__in=held)
    first: UUID | None = _with_room(ahead_of_lines(queued)).values_list("pk", flat=True).first()
    return first or _first_of_lines(queued, classes)


def ready_builds(worker: str, *, classes: Collection[str] = (), most: int) -> list[UUID]:
    """Some builds that this worker could take now, at most so many."""
    if most <= 0 or is_closed_to(worker):
        return []
    queued = _takeable(worker, classes)
    found = list(_with_room(ahead_of_lines(queued)).values_list("pk", flat=True)[:most])
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


def ahead_of_lines(builds: BuildQuerySet) -> BuildQuerySet:
    """Those that wait for no turn, in their order.

    Builds that operators moved come before all others, whatever their owners run. Then builds that
    are tried again: they had their turn.
    """
    some = builds.filter(Q(front__lt=0) | Q(not_before__isnull=False))
    return some.order_by("front", "not_before", "queued_at", "id")


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
    room = Exists(owner.filter(_room("running", "most_running")))
    return builds.filter(Q(front__lt=0) | room)


def _takeable(worker: str, classes: Collection[str]) -> BuildQuerySet:
    queued = Build.objects.filter(status=Status.QUEUED).open_to(worker)
    return queued.filter(resource_class__in=classes) if classes else queued


def _first_of_lines(queued: BuildQuerySet, classes: Collection[str]) -> UUID | None:
    own = in_line(
        queued.filter(owner_id=OuterRef("owner_id"), resource_class=OuterRef("resource_class"))
    )
    lines = lines_with_room().annotate(first=Subquery(own.values("pk")[:1]))
    lines = lines.filter(first__isnull=False)
    found: list[QueueLine] = []
    # One of its own for each class: an index has the order of one.
    for some in [lines.filter(resource_class=name) for name in classes] or [lines]:
        found += some[:1]
    if not found:
        return None
    best = min(found, key=order_of)
    return best.first  # type: ignore[attr-defined, no-any-return]


def order_of(line: QueueLine) -> tuple[float, ...]:
    return line.precedence, line.load, line.turn, line.pk
