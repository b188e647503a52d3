"""The state of an image's build in words, its progress, and an estimate of the remaining time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from uuid import UUID

from django.utils import timezone

from builds.models import Build
from builds.queue.status import QueueStatus, QueueView, shared_view
from builds.status import FINAL, RUNNING, Status, state_word
from images.models import Image

SAMPLES = 9
"""Earlier builds that an estimate uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The state of one attempt. Times are in seconds, or None if unknown."""

    build: Build
    word: str
    """queued, building, succeeded, failed or cancelled."""
    queue: QueueStatus | None = None
    """Set while it waits."""
    took: float | None = None
    """Seconds since the start, or from start to end."""
    estimate: float | None = None
    """Expected total duration, from earlier builds of the same image."""

    @property
    def ended(self) -> bool:
        return self.build.state in FINAL

    @property
    def doing(self) -> str:
        """Short text about the work besides the steps, while it runs."""
        words = {Status.PUSHING: "pushing", Status.CANCELLING: "cancelling"}
        return words.get(self.build.state, "")

    @property
    def over(self) -> bool:
        """Whether it takes longer than earlier builds."""
        return self.estimate is not None and (self.took or 0) > self.estimate


def standings(images: Iterable[Image]) -> Mapping[UUID, Standing]:
    """By image id, in at most ten queries for any number of images."""
    builds = {image.pk: image.build for image in images}
    queued = [build.queued_at for build in builds.values() if build.state is Status.QUEUED]
    view = shared_view.get(max(queued)) if queued else None
    return {pk: _standing(build, view) for pk, build in builds.items()}


def standing(image: Image, build: Build) -> Standing:
    """The state of one attempt, with an estimate while it runs."""
    queued = build.state is Status.QUEUED
    estimate = None
    if build.state in RUNNING or queued:
        before = image.attempts.filter(status=Status.SUCCEEDED).order_by("-number")
        estimate = _typical(before.values_list("started_at", "ended_at")[:SAMPLES])
    return _standing(build, shared_view.get(build.queued_at) if queued else None, estimate)


def _standing(build: Build, view: QueueView | None, estimate: float | None = None) -> Standing:
    took = None
    if build.started_at is not None:
        took = ((build.ended_at or timezone.now()) - build.started_at).total_seconds()
    return Standing(
        build=build,
        word=state_word(build.state),
        queue=view.of(build) if view and build.state is Status.QUEUED else None,
        took=took,
        estimate=estimate,
    )


def _typical(
    times: Iterable[tuple[datetime | None, datetime | None]] | Sequence[tuple[datetime, datetime]],
) -> float | None:
    took = [(end - start).total_seconds() for start, end in times if start and end]
    return median(took) if took else None
