"""The first builds of the queue in the order in which they start, and when."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Self
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import Subquery

from builds.models import Build, BuildQuerySet, QueueLine, QueueOwner
from builds.queue.durations import OF_IMAGE, Durations
from builds.queue.simulation import Ahead, Duration, Line, Owner, Simulation, Slot, Start
from builds.queue.slots import Slots
from builds.queue.turns import ahead_of_lines, most_running
from builds.status import Status

PLACES = 1_000
"""Places that are told; further back a build is only in the queue."""


class Place(NamedTuple):
    number: int
    """From 1."""
    at: float
    """Seconds until it starts, as expected."""
    variance: float
    image_id: UUID


class Waiting(NamedTuple):
    build_id: UUID
    image_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    places: Mapping[UUID, Place] = field(default_factory=dict)
    """By build, in the order of their starts."""
    full: Mapping[UUID, int] = field(default_factory=dict)
    """Owners with builds in the queue who run as many as they may, and how many that is."""
    sure: bool = False
    """Whether enough builds have ended to tell times."""

    @classmethod
    def of(cls, slots: Slots) -> Self:
        """In at most five queries, each of which reads at most PLACES rows of an index."""
        ahead = list(_ahead(Build.objects.filter(status=Status.QUEUED), slots))
        latest = QueueOwner.objects.order_by("-started_turn").values("started_turn")[:1]
        lines = list(
            QueueLine.objects.select_related("owner").annotate(latest=Subquery(latest))[:PLACES]
        )
        if not ahead and not lines:
            return cls()
        owners = {line.owner_id: line.owner for line in lines}
        missing = {each.owner_id for each in ahead} - owners.keys()
        owners |= QueueOwner.objects.in_bulk(list(missing)) if missing else {}
        latest_turn = lines[0].latest if lines else 0.0
        play = _Play(slots, ahead, lines, owners, latest_turn, Durations.lately())
        first = play.starts({})
        in_line = (each.what for each in first if isinstance(each.what, Line))
        builds = _first_builds(Counter(line.id for line in in_line))
        if play.knows_images(builds):
            first = play.starts(builds)
        return cls(places=_places(first, builds), full=play.full(), sure=play.durations.known)


@dataclass(frozen=True, slots=True)
class _Play:
    """What is played through, twice where images are known by then."""

    slots: Slots
    ahead: Sequence[Ahead]
    lines: Sequence[QueueLine]
    owners: Mapping[UUID, QueueOwner]
    latest_turn: float
    durations: Durations

    def starts(self, builds: Mapping[int, Sequence[Waiting]]) -> list[Start]:
        def takes(what: Ahead | Line, number: int) -> Duration:
            if isinstance(what, Ahead):
                return self.durations.total(what.owner_id, what.image_id)
            known = builds.get(what.id, ())
            image = known[number].image_id if number < len(known) else None
            return self.durations.total(what.owner_id, image)

        simulation = Simulation(
            slots=self._slots(),
            owners={pk: self._owner(owner) for pk, owner in self.owners.items()},
            ahead=self.ahead,
            lines=[
                Line(
                    id=line.pk,
                    owner_id=line.owner_id,
                    resource_class=line.resource_class,
                    waiting=line.waiting,
                    precedence=line.precedence,
                )
                for line in self.lines
            ],
            latest_turn=self.latest_turn,
            takes=takes,
        )
        return list(islice(simulation.starts(), PLACES))

    def knows_images(self, builds: Mapping[int, Sequence[Waiting]]) -> bool:
        known = self.durations.by_image
        waiting = (each for line in builds.values() for each in line)
        return any(len(known.get(each.image_id, ())) >= OF_IMAGE for each in waiting)

    def full(self) -> Mapping[UUID, int]:
        found = {pk: self._owner(owner) for pk, owner in self.owners.items()}
        return {pk: owner.most or 0 for pk, owner in found.items() if not owner.has_room}

    def _owner(self, owner: QueueOwner) -> Owner:
        most = most_running() if owner.most_running is None else owner.most_running
        return Owner(running=owner.running, most=most, weight=owner.weight, turn=owner.turn)

    def _slots(self) -> Iterator[Slot]:
        """Every worker's, with what runs there; of workers that take nothing what runs there."""
        free = {worker.pk: worker.threads for worker in self.slots.workers}
        classes = {each.pk: frozenset(each.resource_classes) for each in self.slots.workers}
        for run in self.slots.running:
            taken = free.get(run.worker, 0) > 0
            if taken:
                free[run.worker] -= 1
            since = run.started_at or self.slots.now
            elapsed = (self.slots.now - since).total_seconds()
            rest = self.durations.rest(run.owner_id, run.image_id, elapsed)
            yield Slot(
                classes=classes.get(run.worker, frozenset()),
                owner_id=run.owner_id,
                ends_in=rest.mean,
                variance=rest.variance,
                closed=not taken,
            )
        for name, number in free.items():
            for _ in range(number):
                yield Slot(classes=classes[name])
        if not free:
            yield Slot(classes=frozenset())  # for the order alone


def _ahead(builds: BuildQuerySet, slots: Slots) -> Iterator[Ahead]:
    fields = ("pk", "owner_id", "image_id", "resource_class", "front", "not_before")
    rows = ahead_of_lines(builds).values_list(*fields)
    for pk, owner_id, image_id, resource_class, front, due in rows[:PLACES]:
        yield Ahead(
            build_id=pk,
            owner_id=owner_id,
            image_id=image_id,
            resource_class=resource_class,
            moved=front < 0,
            due_in=max(0.0, (due - slots.now).total_seconds()) if due else 0.0,
        )


def _places(starts: Sequence[Start], builds: Mapping[int, Sequence[Waiting]]) -> dict[UUID, Place]:
    found: dict[UUID, Place] = {}
    for start in starts:
        if isinstance(start.what, Ahead):
            waiting = Waiting(start.what.build_id, start.what.image_id)
        elif start.number < len(known := builds.get(start.what.id, ())):
            waiting = known[start.number]
        else:  # it was taken or cancelled meanwhile
            continue
        place = Place(len(found) + 1, start.at, start.variance, waiting.image_id)
        found[waiting.build_id] = place
    return found


def _first_builds(wanted: Mapping[int, int]) -> dict[int, list[Waiting]]:
    """So many first builds of each line, by the ids of lines. One query."""
    found: dict[int, list[Waiting]] = {line: [] for line in wanted}
    if not wanted:
        return found
    parameter = orjson.dumps([[line, number] for line, number in wanted.items()]).decode()
    with connection.cursor() as cursor:
        cursor.execute(FIRST_BUILDS[connection.vendor], [parameter])
        for line, build_id, image_id in cursor.fetchall():
            found[line].append(Waiting(_uuid(build_id), _uuid(image_id)))
    return found


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


FIRST_BUILDS = {
    # Through an index, so many of each line.
    "postgresql": """
        SELECT l.id, b.id, b.image_id
        FROM jsonb_array_elements(%s::jsonb) AS wanted
        JOIN builds_queueline l ON l.id = (wanted->>0)::bigint
        CROSS JOIN LATERAL (
            SELECT b.id, b.image_id, b.queued_at FROM builds_build b
            WHERE b.owner_id = l.owner_id AND b.resource_class = l.resource_class
                AND b.status = 'queued' AND b.front = 0 AND b.not_before IS NULL
            ORDER BY b.queued_at, b.id LIMIT (wanted->>1)::bigint
        ) AS b
        ORDER BY l.id, b.queued_at, b.id
    """,
    # Which has no LATERAL: through all that wait, which are few without a server.
    "sqlite": """
        SELECT line, id, image_id FROM (
            SELECT l.id AS line, wanted.value AS number, b.id, b.image_id,
                ROW_NUMBER() OVER (PARTITION BY l.id ORDER BY b.queued_at, b.id) AS place
            FROM json_each(%s) AS wanted
            JOIN builds_queueline l ON l.id = json_extract(wanted.value, '$[0]')
            JOIN builds_build b ON b.owner_id = l.owner_id
                AND b.resource_class = l.resource_class
                AND b.status = 'queued' AND b.front = 0 AND b.not_before IS NULL
        ) WHERE place <= json_extract(number, '$[1]') ORDER BY line, place
    """,
}
