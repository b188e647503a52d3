"""Simulates the queue: in which order and when waiting builds start.

Pure Python. `builds.queue.turns` implements the same order in SQL; a test checks that they agree.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import NamedTuple
from uuid import UUID

LEAST_STEP = 2**-20
"""Minimum difference between two turns, so that of two equal owners the one served earlier goes
first."""


class Duration(NamedTuple):
    """In seconds."""

    mean: float
    variance: float


@dataclass(slots=True, kw_only=True)
class Owner:
    """An owner in the simulation."""

    running: int
    most: int | None
    """Maximum number of concurrent builds; None for no limit."""
    weight: int
    turn: float
    lines: list["Line"] = field(default_factory=list)

    @property
    def has_room(self) -> bool:
        return self.most is None or self.running < self.most


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """Waiting builds of one owner and resource class."""

    id: int
    owner_id: UUID
    resource_class: str
    waiting: int
    precedence: int
    taken: int = 0
    version: int = 0


@dataclass(slots=True, kw_only=True)
class Ahead:
    """A build that does not wait in line: moved to the front, or a retry."""

    build_id: UUID
    owner_id: UUID
    image_id: UUID
    resource_class: str
    moved: bool
    """Moved to the front: it also ignores its owner's limit."""
    due_in: float
    """Seconds until it may be taken."""


@dataclass(slots=True, kw_only=True)
class Slot:
    """A build slot of a worker, and the build that runs in it."""

    classes: frozenset[str]
    """Resource classes that it takes; empty for all."""
    owner_id: UUID | None = None
    ends_in: float = 0.0
    variance: float = 0.0
    closed: bool = False
    """Whether it takes no further build."""

    def takes(self, resource_class: str) -> bool:
        return not self.classes or resource_class in self.classes


class Start(NamedTuple):
    """A simulated start, `at` in seconds from now."""

    what: "Ahead | Line"
    number: int
    """Index in its line, from 0."""
    at: float
    variance: float


Takes = Callable[["Ahead | Line", int], Duration]
"""Duration of a build, given its place (line or ahead) and its index there."""


class Simulation:
    """Simulates the queue from its present state. Modifies owners, lines and slots."""

    def __init__(
        self,
        *,
        slots: Iterable[Slot],
        owners: dict[UUID, Owner],
        ahead: Sequence[Ahead],
        lines: Sequence[Line],
        latest_turn: float,
        takes: Takes,
        arrivals: Iterable[tuple[float, Line]] = (),
    ) -> None:
        """`arrivals` are pairs: after how many seconds another build joins which line. Lines
        that are empty at first appear only there."""
        self._owners = owners
        self._ahead = list(ahead)
        self._latest = latest_turn
        self._takes = takes
        self._tie = count()
        self._events: list[tuple[float, int, Slot | Line | None]] = []
        self._idle: list[Slot] = []
        self._lines: list[tuple[float, float, float, int, int, Line]] = []
        for line in lines:
            owners[line.owner_id].lines.append(line)
            self._offer(line)
        for slot in slots:
            heappush(self._events, (slot.ends_in, next(self._tie), slot))
        for after, line in arrivals:
            if line not in owners[line.owner_id].lines:
                owners[line.owner_id].lines.append(line)
            heappush(self._events, (after, next(self._tie), line))
        for each in self._ahead:
            if each.due_in > 0:
                heappush(self._events, (each.due_in, next(self._tie), None))

    def starts(self) -> Iterator[Start]:
        """Yield starts in order, until nothing more can start."""
        while self._events:
            at, _, event = heappop(self._events)
            slot = event if isinstance(event, Slot) else None
            if isinstance(event, Line):
                event.waiting += 1
                self._offer(event)
            if slot is not None:
                self._release(slot)
                if not slot.closed:
                    self._idle.append(slot)
            for free in list(self._idle):
                found = self._choose(free, at)
                if found is None:
                    continue
                self._idle.remove(free)
                what, number = found
                if slot is not None:  # it may have waited for that slot
                    free.variance = max(free.variance, slot.variance)
                yield Start(what, number, at, free.variance)
                takes = self._takes(what, number)
                free.owner_id, free.ends_in = what.owner_id, at + takes.mean
                free.variance += takes.variance
                heappush(self._events, (free.ends_in, next(self._tie), free))

    def _release(self, slot: Slot) -> None:
        owner = self._owners.get(slot.owner_id) if slot.owner_id else None
        slot.owner_id = None
        if owner is not None:
            owner.running -= 1
            for line in owner.lines:
                self._offer(line)

    def _offer(self, line: Line) -> None:
        """Queue the line with its current load. Older entries of the line become invalid."""
        if line.waiting <= 0:
            return
        owner = self._owners[line.owner_id]
        line.version += 1
        load = owner.running / owner.weight
        heappush(self._lines, (line.precedence, load, owner.turn, line.id, line.version, line))

    def _choose(self, slot: Slot, at: float) -> "tuple[Ahead | Line, int] | None":
        for each in self._ahead:
            owner = self._owners[each.owner_id]
            may_start = each.due_in <= at and (each.moved or owner.has_room)
            if may_start and slot.takes(each.resource_class):
                self._ahead.remove(each)
                self._run(owner)
                return each, 0
        others: list[tuple[float, float, float, int, int, Line]] = []
        found: tuple[Line, int] | None = None
        while self._lines and found is None:
            offer = heappop(self._lines)
            line = offer[-1]
            owner = self._owners[line.owner_id]
            if offer[-2] != line.version or not owner.has_room:
                continue  # queued again when a build of its owner ends
            if not slot.takes(line.resource_class):
                others.append(offer)
                continue
            found = line, line.taken
            line.taken += 1
            line.waiting -= 1
            self._latest = max(owner.turn, self._latest + LEAST_STEP)
            owner.turn = self._latest + 1 / owner.weight
            self._run(owner)
        for offer in others:
            heappush(self._lines, offer)
        return found

    def _run(self, owner: Owner) -> None:
        owner.running += 1
        for line in owner.lines:
            self._offer(line)


MOST_ARRIVALS = 500


def uncertain(duration: Duration) -> Duration:
    """Duration of a build that may or may not arrive: the variance is increased."""
    return Duration(duration.mean, duration.variance + duration.mean**2)


def arrivals(sent: Sequence[tuple[UUID, float]], horizon: float) -> list[tuple[float, UUID]]:
    """Predicted arrivals, if owners go on as recently: pairs of seconds from now and owner id.

    `sent` has owner id and age in seconds of recent builds, newest first.
    """
    if len(sent) < 2:  # noqa: PLR2004  (one build gives no rate)
        return []
    span = max(1.0, sent[-1][1])
    owners = Counter(owner for owner, _ in sent)
    gaps = [span / number for number in owners.values()]
    names = list(owners)
    coming = [(gap, index) for index, gap in enumerate(gaps)]
    heapify(coming)
    found: list[tuple[float, UUID]] = []
    while len(found) < MOST_ARRIVALS and coming[0][0] <= horizon:
        at, index = coming[0]
        found.append((at, names[index]))
        heapreplace(coming, (at + gaps[index], index))
    return found
