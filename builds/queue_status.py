"""Why a queued build waits, in sentences for operators."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from builds.models import Build, Pause, Worker


@dataclass(frozen=True)
class Hands:
    """Who takes builds now: read once for everything that a page says about it."""

    pause: Pause | None
    alive: int
    """Worker processes."""
    draining: int
    quarantined: int
    hands: int
    """Builds that run at once in those that take more."""
    busy: int
    troubles: tuple[str, ...] = ()
    """Why workers are in quarantine."""

    @classmethod
    def now(cls) -> "Hands":
        """In three queries."""
        alive = list(Worker.objects.alive())
        open_ones = [each for each in alive if not each.draining and not each.quarantined]
        return cls(
            pause=Pause.objects.first(),
            alive=len(alive),
            draining=sum(each.draining for each in alive),
            quarantined=sum(each.quarantined for each in alive),
            troubles=tuple(sorted({each.quarantine_reason for each in alive if each.quarantined})),
            hands=sum(worker.threads for worker in open_ones),
            busy=Build.objects.running().filter(worker__in=[one.pk for one in open_ones]).count(),
        )

    @cached_property
    def free(self) -> int:
        return max(0, self.hands - self.busy)

    def reasons(self, ahead: int) -> Iterator[str]:
        """Why a build with so many before it waits."""
        if self.pause is not None:
            yield f"The queue is paused by {self.pause.by}: nothing is taken until it is resumed."
        if not self.alive:
            yield "No worker is alive: start one."
        elif not self.hands and self.quarantined:
            yield "No worker takes builds now. In quarantine: " + "; ".join(self.troubles) + "."
        elif not self.hands:
            yield "Every worker is draining and takes nothing more."
        elif not self.free:
            whole = f"All {self.hands} build slots" if self.hands > 1 else "The only build slot"
            yield f"{whole} of the workers {'are' if self.hands > 1 else 'is'} busy."
        elif self.pause is None and ahead < self.free:
            yield "A worker is free: it starts within seconds."


def position(build: Build) -> int:
    """Its place in the queue, from 1."""
    return Build.objects.ahead_of(build).count() + 1


def place(number: int) -> str:
    return "Next in the queue." if number == 1 else f"Position {number:,} in the queue."
