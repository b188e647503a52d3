"""Expected durations from recently ended builds of the same image, else the owner, else all."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
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


class Samples:
    """Durations of some builds, in seconds."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self._sorted = sorted(seconds)
        # Sums of each sample and all longer ones, so that `rest` needs no loop.
        backwards = self._sorted[::-1]
        self._sums = [0.0, *accumulate(backwards)][::-1]
        self._squares = [0.0, *accumulate(each * each for each in backwards)][::-1]

    def __len__(self) -> int:
        return len(self._sorted)

    def rest(self, elapsed: float = 0.0) -> Duration | None:
        """Expected remaining time by the samples longer than `elapsed`; None if there are none."""
        first = bisect_right(self._sorted, elapsed) if elapsed > 0 else 0
        number = len(self._sorted) - first
        if not number:
            return None
        mean = self._sums[first] / number
        variance = self._squares[first] / number - mean * mean
        mean = max(LEAST, mean - elapsed)
        return Duration(mean, max(variance, (LEAST_DEVIATION * mean) ** 2))


@dataclass(frozen=True, slots=True)
class Durations:
    """Durations in seconds of recently ended builds."""

    by_image: Mapping[UUID, Samples] = field(default_factory=dict)
    by_owner: Mapping[UUID, Samples] = field(default_factory=dict)
    all: Samples = field(default_factory=lambda: Samples(()))

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
        return cls(_enough(images, OF_IMAGE), _enough(owners, OF_OWNER), Samples(seconds))

    @property
    def known(self) -> bool:
        """Whether there are enough samples to estimate times."""
        return len(self.all) >= OF_ALL

    def total(self, owner: UUID, image: UUID | None = None) -> Duration:
        """Expected duration of a build that starts."""
        return self._samples(owner, image).rest() or UNKNOWN

    def rest(self, owner: UUID, image: UUID, elapsed: float) -> Duration:
        """Expected remaining time of a build that has run for `elapsed` seconds."""
        found = self._samples(owner, image).rest(elapsed) or self.all.rest(elapsed)
        if found is None:
            longer = max(1.0, LONGER * elapsed)
            return Duration(longer, longer**2)
        return found

    def _samples(self, owner: UUID, image: UUID | None) -> Samples:
        found = self.by_image.get(image) if image is not None else None
        return found or self.by_owner.get(owner) or self.all


def _enough(found: Mapping[UUID, Sequence[float]], least: int) -> dict[UUID, Samples]:
    return {key: Samples(each) for key, each in found.items() if len(each) >= least}
