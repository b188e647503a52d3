"""The attempts of an image, and why each of them ended."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from builds.models import Build
from builds.status import Status, state_word
from common.humanize import took

DOES = {
    Status.QUEUED: "Waits in the queue",
    Status.PUSHING: "Pushes the image",
    Status.CANCELLING: "Is being cancelled",
    Status.SUCCEEDED: "Built and pushed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    build: Build
    word: str
    why: str
    took: float | None
    """Seconds since the start."""
    waited: float | None
    """Seconds in the queue."""
    cached: int
    """Number of steps that came from the cache."""
    current: bool
    good: bool


def attempt_rows(builds: Iterable[Build], *, current: UUID, good: UUID | None) -> list[AttemptRow]:
    """Rows for `builds`, which need their `step_times`."""
    return [
        AttemptRow(
            build=build,
            word=state_word(build.state),
            why=why(build),
            took=took(build),
            waited=(build.started_at - build.queued_at).total_seconds()
            if build.started_at
            else None,
            cached=sum(state == "cached" for state, *_ in build.step_times),
            current=build.pk == current,
            good=build.pk == good,
        )
        for build in builds
    ]


def why(build: Build) -> str:
    """One sentence: why it ended, or what it does now."""
    said = build.failure_text[:1].upper() + build.failure_text[1:]
    if build.state is Status.FAILED and build.failure_fault == "service":
        return f"Slipway's side: {build.failure_text}"
    if build.state is Status.LOST:
        return f"{said.rstrip('.')}. Attempt {build.number + 1} took its place"
    return said or DOES.get(build.state, "Builds")
