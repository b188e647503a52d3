"""The error of estimates of waiting times, by a simulation of days. Uses no clock and no database.

Owners send builds at random times; builds of one image take similar times. At random moments one
waiting build gets an estimate from the same modules that serve users. Later it is compared with the
real start.
"""

import os
import random
from collections.abc import Iterator
from itertools import islice
from statistics import fmean, median, quantiles
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from builds.queue.durations import SAMPLES, Durations  # noqa: E402
from builds.queue.forecast import PLACES, SENT, SENT_SECONDS  # noqa: E402
from builds.queue.simulation import (  # noqa: E402
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

SEEDS = range(100, 104)
"""Not 0 to 3, by which the estimate was tuned."""
SLOTS, OWNERS, IMAGES = 6, 25, 8
BUILDS = 1_200
BUSY = 1.15
"""Work that is sent, divided by what the slots can do: above 1, so that there is a queue."""
TOLD_EVERY = 12
SPREAD = 1.28


class Fleet:
    """The simulated world: builds are sent, wait for their turn, run and end."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.owners = [UUID(int=number + 1) for number in range(OWNERS)]
        self.images = {
            owner: [
                (UUID(int=10_000 + 100 * number + image), self.chance.lognormvariate(4.0, 0.8))
                for image in range(IMAGES)
            ]
            for number, owner in enumerate(self.owners)
        }
        mean = fmean(took for images in self.images.values() for _, took in images)
        self.gap = mean / SLOTS / BUSY
        self.turns = dict.fromkeys(self.owners, 0.0)
        self.latest = 0.0
        self.ended: list[tuple[UUID, UUID, float]] = []
        self.running: list[tuple[float, float, UUID, UUID]] = []
        """Start, end, owner, image."""
        self.waiting: dict[UUID, list[tuple[int, UUID, float]]] = {each: [] for each in self.owners}
        """Number, image, duration in seconds."""
        self.sent = 0
        self.times: list[tuple[UUID, float]] = []
        """Owner and time of each build that was sent."""

    def send(self) -> None:
        # Some owners send many builds at once.
        owner = self.chance.choice(self.owners[: self.chance.choice([3, OWNERS])])
        for _ in range(self.chance.choice([1, 1, 1, 6])):
            image, typical = self.chance.choice(self.images[owner])
            took = typical * self.chance.lognormvariate(0, 0.25)
            self.waiting[owner].append((self.sent, image, took))
            self.times.append((owner, self.now))
            self.sent += 1

    def starts(self, told: bool) -> list[Start]:
        """Starts by the scheduler's own rules. With `told`, with the knowledge that estimates
        have; else with the true values."""
        known = Durations.of(self.ended[-SAMPLES:][::-1])
        owners = {
            owner: Owner(
                running=sum(each[2] == owner for each in self.running),
                most=None,
                weight=1,
                turn=self.turns[owner],
            )
            for owner in self.owners
        }
        lines = [
            Line(
                id=number,
                owner_id=owner,
                resource_class="default",
                waiting=len(self.waiting[owner]),
                precedence=0,
            )
            for number, owner in enumerate(self.owners)
            if self.waiting[owner]
        ]

        def takes(what: Ahead | Line, number: int) -> Duration:
            line = self.waiting[what.owner_id]
            if told:
                if number < len(line):
                    return known.total(what.owner_id, line[number][1])
                return uncertain(known.total(what.owner_id))
            return Duration(line[number][2], 0.0)

        slots = []
        for start, end, owner, image in self.running:
            rest = known.rest(owner, image, self.now - start)
            ends_in = rest.mean if told else end - self.now
            slots.append(
                Slot(
                    classes=frozenset(),
                    owner_id=owner,
                    ends_in=ends_in,
                    variance=rest.variance if told else 0.0,
                )
            )
        slots += [Slot(classes=frozenset()) for _ in range(SLOTS - len(slots))]
        simulation = Simulation(
            slots=slots,
            owners=owners,
            ahead=[],
            lines=lines,
            latest_turn=self.latest,
            takes=takes,
            arrivals=self.coming(lines) if told else (),
        )
        if not told:
            return list(islice(simulation.starts(), 1))
        starts = islice(simulation.starts(), PLACES)
        return [each for each in starts if each.number < len(self.waiting[each.what.owner_id])]

    def coming(self, lines: list[Line]) -> Iterator[tuple[float, Line]]:
        known = {line.owner_id: line for line in lines}
        sent = [(owner, self.now - at) for owner, at in self.times[: -SENT - 1 : -1]]
        sent = [each for each in sent if each[1] < SENT_SECONDS]
        waiting = sum(len(line) for line in self.waiting.values())
        took = [seconds for _, _, seconds in self.ended[-SAMPLES:]] or [0.0]
        for after, owner in arrivals(sent, 2 * waiting * fmean(took) / SLOTS):
            if owner not in known:
                known[owner] = Line(
                    id=-len(known) - 1,
                    owner_id=owner,
                    resource_class="default",
                    waiting=0,
                    precedence=0,
                )
            yield after, known[owner]

    now = 0.0

    def run(self) -> Iterator[tuple[float, float, float, float]]:
        """For each build that got an estimate: low, expected, high and true seconds."""
        told: dict[int, tuple[float, float, float, float]] = {}
        arrives = 0.0
        while self.sent < BUILDS or any(self.waiting.values()):
            ends = min((each[1] for each in self.running), default=float("inf"))
            if self.sent < BUILDS and arrives <= ends:
                self.now = arrives
                self.send()
                arrives += self.chance.expovariate(1 / (self.gap * 2.25))
                if self.sent > BUILDS / 4 and self.sent % TOLD_EVERY == 0:
                    told |= self.tell(set(told))
            else:
                self.now = ends
                ended = min(self.running, key=lambda each: each[1])
                self.running.remove(ended)
                self.ended.append((ended[3], ended[2], ended[1] - ended[0]))
            while len(self.running) < SLOTS and any(self.waiting.values()):
                started = self.take()
                if started in told:
                    at, low, expected, high = told.pop(started)
                    yield low, expected, high, self.now - at

    def tell(self, known: set[int]) -> dict[int, tuple[float, float, float, float]]:
        starts = [each for each in self.starts(told=True) if each.at > 0]
        if not starts:
            return {}
        start = self.chance.choice(starts)
        number = self.waiting[start.what.owner_id][start.number][0]
        if number in known:
            return {}
        around = SPREAD * start.variance**0.5
        low, high = max(0.0, start.at - around), start.at + around
        return {number: (self.now, low, start.at, high)}

    def take(self) -> int:
        [first, *_] = self.starts(told=False)
        owner = first.what.owner_id
        number, image, took = self.waiting[owner].pop(0)
        self.latest = max(self.turns[owner], self.latest + 2**-20)
        self.turns[owner] = self.latest + 1
        self.running.append((self.now, self.now + took, owner, image))
        return number


def error_of_estimates() -> Iterator[tuple[str, float, str]]:
    """Names, values and units."""
    found = [each for seed in SEEDS for each in Fleet(seed).run()]
    errors = [100 * abs(expected - true) / true for _, expected, _, true in found if true > 0]
    within = [low <= true <= high for low, _, high, true in found]
    yield "error_median", median(errors), "%"
    yield "error_p90", quantiles(errors, n=10)[8], "%"
    yield "within_range", 100 * fmean(within), "%"
    yield "too_short", 100 * fmean(true > high for _, _, high, true in found), "%"
    yield "wait_median", median(true for *_, true in found), "s"
    yield "told", float(len(found)), "builds"
