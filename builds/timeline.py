"""Timeline of an attempt, from the times in its row."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from builds.models import Build
from builds.status import FINAL, Status

ENDS = {
    Status.SUCCEEDED: "Succeeded",
    Status.FAILED: "Failed",
    Status.CANCELLED: "Cancelled",
    Status.LOST: "Lost: started again as a new attempt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An event of an attempt, and the seconds since the previous one."""

    at: datetime
    text: str
    after: float | None = None


def timeline(build: Build) -> list[Moment]:
    """Events in chronological order."""
    found: list[Moment] = []
    for at, text in sorted(_moments(build), key=itemgetter(0)):
        after = (at - found[-1].at).total_seconds() if found else None
        found.append(Moment(at=at, text=text, after=after))
    return found


def _moments(build: Build) -> Iterator[tuple[datetime, str]]:
    yield build.queued_at, "Queued"
    if build.started_at is not None:
        yield build.started_at, f"Started by worker {build.worker}"
    if build.pushing_at is not None:
        yield build.pushing_at, "Built; pushing"
    if build.cancel_requested_at is not None:
        yield build.cancel_requested_at, "Cancelling was asked for"
    if build.ended_at is not None and build.state in FINAL:
        code = f" ({build.failure_code})" if build.state is Status.FAILED else ""
        yield build.ended_at, f"{ENDS[build.state]}{code}"
    if build.discarded_at is not None:
        yield build.discarded_at, "Its image was deleted"
    if build.purged_at is not None:
        yield build.purged_at, "All that it left was removed"
