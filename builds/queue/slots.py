"""The build slots of all workers, and reasons why none takes builds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple, Self
from uuid import UUID

from django.utils import timezone

from builds.models import Build, Pause, Worker
from builds.queue.reasons import Reason


class Running(NamedTuple):
    """A running build."""

    image_id: UUID
    owner_id: UUID
    worker: str
    started_at: datetime | None


@dataclass(frozen=True)
class Slots:
    """State of the workers, read once per page or response."""

    pause: Pause | None
    alive: Sequence[Worker]
    running: Sequence[Running]
    now: datetime

    @classmethod
    def read(cls) -> Self:
        """Read the state with three queries."""
        fields = ("image_id", "owner_id", "worker", "started_at")
        return cls(
            pause=Pause.objects.first(),
            alive=list(Worker.objects.alive().order_by("name")),
            running=[Running(*row) for row in Build.objects.running().values_list(*fields)],
            now=timezone.now(),
        )

    @cached_property
    def workers(self) -> Sequence[Worker]:
        """Workers that take builds."""
        return [each for each in self.alive if not each.draining and not each.quarantined]

    @cached_property
    def draining(self) -> int:
        return sum(each.draining for each in self.alive)

    @cached_property
    def quarantined(self) -> int:
        return sum(each.quarantined for each in self.alive)

    @cached_property
    def total(self) -> int:
        """Number of slots of the workers that take builds."""
        return sum(each.threads for each in self.workers)

    @cached_property
    def busy(self) -> int:
        """Number of builds running on workers that take builds."""
        names = {each.pk for each in self.workers}
        return sum(each.worker in names for each in self.running)

    def taking(self, resource_class: str) -> int:
        """Number of slots for builds of this class."""
        return sum(
            each.threads
            for each in self.workers
            if not each.resource_classes or resource_class in each.resource_classes
        )

    def closed(self) -> Iterator[Reason]:
        """Reasons why no build starts at all."""
        if self.pause is not None:
            yield Reason(
                code="paused",
                text="The queue is paused: no build starts until an operator resumes it.",
                detail=f"{self.pause.by} paused it.",
            )
        if not self.alive:
            yield Reason(code="no-worker", text="No worker is running.", detail="Start one.")
        elif not self.workers and self.quarantined:
            troubles = sorted({each.quarantine_reason for each in self.alive if each.quarantined})
            yield Reason(
                code="quarantined",
                text="No worker takes builds now, as something is wrong on Slipway's side.",
                detail=f"In quarantine: {'; '.join(troubles)}.",
            )
        elif not self.workers:
            yield Reason(
                code="draining",
                text="Every worker is about to stop and takes no more builds.",
                detail="All of them drain.",
            )
