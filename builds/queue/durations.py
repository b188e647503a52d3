"""Expected durations from recently ended builds of the same image, else the owner, else all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pvariance
from typing import Self
from uuid import UUID

from builds.models import Build
from builds.models.clock import from_now
from builds.queue.simulation import Duration
from builds.status import Status

SAMPLES = 300
"""Number of most recent builds."""
LATELY_SECONDS = 7 * 86_400
OF_IMAGE, OF_OWNER, OF_ALL = 2, 4, 3
"""Minimum numbers of builds needed for an estimate."""
LEAST_DEVIATION = 0.2
"""Minimum standard deviation, as a share of the mean: small samples vary less than builds do."""
LONGER = 0.5
"""Expected remaining time of a build that exceeds all earlier ones, as a share of its elapsed
time."""
LEAST = 1.0
UNKNOWN = Duration(60.0, 3_600.0)
"""Used without any samples, so that a build is not expected to end at once."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Durations in seconds of recently ended builds."""

    by_image: Mapping[UUID, Sequence[float]] = field(default_factory=dict)
    by_owner: Mapping[UUID, Sequence[float]] = field(default_factory=dict)
    all: Sequence[float] = ()

    @classmethod
    def lately(cls) -> Self:
        """Read the samples from the database, in one query."""
        ended = Build.objects.filter(ended_at__gt=from_now(-LATELY_SECONDS)).order_by("-ended_at")
        rows = ended.values_list("image_id", "owner_id", "status", "started_at", "ended_at")
        return cls.of(
            (image, owner, (end - start).total_seconds())
            for image, owner, status, start, end in rows[:SAMPLES]
            if start and end and status in (Status.SUCCEEDED, Status.FAILED)
        )

    @classmethod
    def of(cls, told: Iterable[tuple[UUID, UUID, float]]) -> Self:
        """Group samples of (image id, owner id, seconds)."""
        images: dict[UUID, list[float]] = {}
        owners: dict[UUID, list[float]] = {}
        seconds = []
        for image, owner, took in told:
            images.setdefault(image, []).append(took)
            owners.setdefault(owner, []).append(took)
            seconds.append(took)
        return cls(images, owners, seconds)

    @property
    def known(self) -> bool:
        """Whether there are enough samples to estimate times."""
        return len(self.all) >= OF_ALL

    def total(self, owner: UUID, image: UUID | None = None) -> Duration:
        """Expected duration of a build that starts."""
        return _duration(self._samples(owner, image))

    def rest(self, owner: UUID, image: UUID, elapsed: float) -> Duration:
        """Expected remaining time of a build that has run for `elapsed` seconds."""
        samples = [each - elapsed for each in self._samples(owner, image) if each > elapsed]
        if not samples:
            samples = [each - elapsed for each in self.all if each > elapsed]
        if not samples:
            longer = max(1.0, LONGER * elapsed)
            return Duration(longer, longer**2)
        return _duration(samples)

    def _samples(self, owner: UUID, image: UUID | None) -> Sequence[float]:
        if image is not None and len(found := self.by_image.get(image, ())) >= OF_IMAGE:
            return found
        if len(found := self.by_owner.get(owner, ())) >= OF_OWNER:
            return found
        return self.all


def _duration(samples: Sequence[float]) -> Duration:
    if not samples:
        return UNKNOWN
    mean = max(LEAST, fmean(samples))
    return Duration(mean, max(pvariance(samples), (LEAST_DEVIATION * mean) ** 2))
