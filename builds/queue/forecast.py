"""Forecast of the first builds in the queue: their order and start times."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple, Self
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import Subquery

from builds.build_spec import DEFAULT_CLASS
from builds.models import Build, BuildQuerySet, QueueLine, QueueOwner
from builds.queue.durations import Durations
from builds.queue.simulation import (
    Ahead,
    Duration,
    Line,
    Owner,
    Simulation,
    Slot,
    Start,
    arrivals,
    uncertain,
)
from builds.queue.slots import Slots
from builds.queue.turns import most_running, moved_to_front, queued_builds, retries

PLACES = 200
"""Number of places that are computed. Builds further back have no position."""


SENT, SENT_SECONDS = 200, 3_600
"""Number of most recent builds, and their maximum age in seconds, that predict arrivals."""


class Place(NamedTuple):
    """Position and expected start of a waiting build."""

    number: int
    """Position in the queue, from 1."""
    at: float
    """Expected seconds until it starts."""
    variance: float
    image_id: UUID


class Waiting(NamedTuple):
    """A waiting build and its image."""

    build_id: UUID
    image_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Positions and expected starts of the first `PLACES` builds."""

    places: Mapping[UUID, Place] = field(default_factory=dict)
    """By build id, in the order of starts."""
    full: Mapping[UUID, int] = field(default_factory=dict)
    """Owners with waiting builds who have reached their limit, and that limit."""
    sure: bool = False
    """Whether enough builds have ended to estimate times."""

    @classmethod
    def of(cls, slots: Slots) -> Self:
        """Compute the forecast with at most seven queries, each of at most PLACES rows of an
        index."""
        queued = queued_builds()
        ahead = [*_ahead(moved_to_front(queued), slots), *_ahead(retries(queued), slots)]
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
        first = play.starts()
        in_line = (each.what for each in first if isinstance(each.what, Line))
        builds = _first_builds(lines, Counter(line.id for line in in_line))
        last = max((each.at for each in first), default=0.0)
        coming = arrivals(_sent(slots.now), 2 * last) if last else []
        later = play.starts(builds, coming)
        return cls(
            places=_places(first, later, builds),
            full=play.full(),
            sure=play.durations.known,
        )


@dataclass(frozen=True, slots=True)
class _Play:
    """Inputs of the simulation, which runs twice: for the order, then for the times.

    The second run knows the images of the waiting builds and simulates further arrivals.
    """

    slots: Slots
    ahead: Sequence[Ahead]
    lines: Sequence[QueueLine]
    owners: Mapping[UUID, QueueOwner]
    latest_turn: float
    durations: Durations

    def starts(
        self,
        builds: Mapping[int, Sequence[Waiting]] | None = None,
        coming: Sequence[tuple[float, UUID]] = (),
    ) -> list[Start]:
        found = builds or {}

        def takes(what: Ahead | Line, number: int) -> Duration:
            if isinstance(what, Ahead):
                return self.durations.total(what.owner_id, what.image_id)
            known = found.get(what.id, ())
            if number < len(known):
                return self.durations.total(what.owner_id, known[number].image_id)
            return uncertain(self.durations.total(what.owner_id))

        owners = {pk: self._owner(owner) for pk, owner in self.owners.items()}
        lines = [
            Line(
                id=line.pk,
                owner_id=line.owner_id,
                resource_class=line.resource_class,
                waiting=line.waiting,
                precedence=line.precedence,
            )
            for line in self.lines
        ]
        simulation = Simulation(
            slots=self._slots(),
            owners=owners,
            ahead=self.ahead,
            lines=lines,
            latest_turn=self.latest_turn,
            takes=takes,
            arrivals=_joining(coming, owners, lines),
        )
        return list(islice(simulation.starts(), PLACES))

    def full(self) -> Mapping[UUID, int]:
        found = {pk: self._owner(owner) for pk, owner in self.owners.items()}
        return {pk: owner.most or 0 for pk, owner in found.items() if not owner.has_room}

    def _owner(self, owner: QueueOwner) -> Owner:
        most = most_running() if owner.most_running is None else owner.most_running
        return Owner(running=owner.running, most=most, weight=owner.weight, turn=owner.turn)

    def _slots(self) -> Iterator[Slot]:
        """The slots of all workers and their builds. Slots of workers that take no builds are
        closed."""
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
            yield Slot(classes=frozenset())  # only to compute the order


def _ahead(builds: BuildQuerySet, slots: Slots) -> Iterator[Ahead]:
    fields = ("pk", "owner_id", "image_id", "resource_class", "front", "not_before")
    rows = builds.values_list(*fields)
    for pk, owner_id, image_id, resource_class, front, due in rows[:PLACES]:
        yield Ahead(
            build_id=pk,
            owner_id=owner_id,
            image_id=image_id,
            resource_class=resource_class,
            moved=front < 0,
            due_in=max(0.0, (due - slots.now).total_seconds()) if due else 0.0,
        )


def _joining(
    coming: Sequence[tuple[float, UUID]], owners: dict[UUID, Owner], lines: Sequence[Line]
) -> Iterator[tuple[float, Line]]:
    """The line that each arriving build joins: its owner's, or a new one in the default class."""
    known = {line.owner_id: line for line in lines}
    for after, owner_id in coming:
        if owner_id not in known:
            owners.setdefault(owner_id, Owner(running=0, most=most_running(), weight=1, turn=0.0))
            known[owner_id] = Line(
                id=-len(known) - 1,
                owner_id=owner_id,
                resource_class=DEFAULT_CLASS,
                waiting=0,
                precedence=0,
            )
        yield after, known[owner_id]


def _sent(now: datetime) -> list[tuple[UUID, float]]:
    """Owner and age in seconds of recently queued builds. One query."""
    since = now - timedelta(seconds=SENT_SECONDS)
    rows = Build.objects.filter(queued_at__gt=since).order_by("-queued_at")
    found = rows.values_list("owner_id", "queued_at")[:SENT]
    return [(owner_id, (now - at).total_seconds()) for owner_id, at in found]


def _places(
    starts: Sequence[Start], later: Sequence[Start], builds: Mapping[int, Sequence[Waiting]]
) -> dict[UUID, Place]:
    """Places in the order of `starts`, with the times of `later`."""
    times = {_key(each): each for each in later}
    found: dict[UUID, Place] = {}
    for start in starts:
        if isinstance(start.what, Ahead):
            waiting = Waiting(start.what.build_id, start.what.image_id)
        elif start.number < len(known := builds.get(start.what.id, ())):
            waiting = known[start.number]
        else:  # taken or cancelled in the meantime
            continue
        time = times.get(_key(start), start)
        place = Place(len(found) + 1, time.at, time.variance, waiting.image_id)
        found[waiting.build_id] = place
    return found


def _key(start: Start) -> tuple[UUID | int, int]:
    what = start.what
    return (what.build_id if isinstance(what, Ahead) else what.id), start.number


def _first_builds(
    lines: Sequence[QueueLine], wanted: Mapping[int, int]
) -> dict[int, list[Waiting]]:
    """The first builds of each line, as many as `wanted` says, by line id. One query."""
    found: dict[int, list[Waiting]] = {line: [] for line in wanted}
    if not wanted:
        return found
    with connection.cursor() as cursor:
        cursor.execute(*_first_builds_sql([line for line in lines if line.pk in wanted], wanted))
        for line, build_id, image_id in cursor.fetchall():
            found[line].append(Waiting(_uuid(build_id), _uuid(image_id)))
    return found


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _first_builds_sql(
    lines: Sequence[QueueLine], wanted: Mapping[int, int]
) -> tuple[str, list[str | int]]:
    """One index scan per line."""
    if connection.vendor == "postgresql":
        return FIRST_BUILDS, [orjson.dumps([*wanted.items()]).decode()]
    params: list[str | int] = []
    for line in lines:
        params += [line.pk, line.owner_id.hex, line.resource_class, wanted[line.pk]]
    return " UNION ALL ".join([FIRST_BUILDS_OF_ONE] * len(lines)), params


FIRST_BUILDS = """
    SELECT l.id, b.id, b.image_id
    FROM jsonb_array_elements(%s::jsonb) AS wanted
    JOIN builds_queueline l ON l.id = (wanted->>0)::bigint
    CROSS JOIN LATERAL (
        SELECT b.id, b.image_id, b.queued_at FROM builds_build b
        WHERE b.owner_id = l.owner_id AND b.resource_class = l.resource_class
            AND b.status IN ('queued') AND b.front = 0 AND b.not_before IS NULL
        ORDER BY b.queued_at, b.id LIMIT (wanted->>1)::bigint
    ) AS b
    ORDER BY l.id, b.queued_at, b.id
"""
FIRST_BUILDS_OF_ONE = """
    SELECT * FROM (
        SELECT %s, id, image_id FROM builds_build
        WHERE owner_id = %s AND resource_class = %s
            AND status IN ('queued') AND front = 0 AND not_before IS NULL
        ORDER BY queued_at, id LIMIT %s
    )
"""
"""For SQLite, which has no LATERAL. PostgreSQL takes long to plan the UNION of many."""
