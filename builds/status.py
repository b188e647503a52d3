"""The states of a build and the allowed transitions."""

from enum import StrEnum


class Status(StrEnum):
    """Status of one attempt."""

    QUEUED = "queued"
    BUILDING = "building"
    PUSHING = "pushing"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.BUILDING, Status.CANCELLED, Status.FAILED}),
    Status.BUILDING: frozenset(
        {Status.PUSHING, Status.CANCELLING, Status.CANCELLED, Status.FAILED, Status.LOST}
    ),
    Status.PUSHING: frozenset(
        {Status.SUCCEEDED, Status.CANCELLING, Status.CANCELLED, Status.FAILED, Status.LOST}
    ),
    Status.CANCELLING: frozenset({Status.CANCELLED, Status.FAILED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.LOST: frozenset(),
}
FINAL = frozenset(status for status, onward in MOVES.items() if not onward)
RUNNING = frozenset({Status.BUILDING, Status.PUSHING, Status.CANCELLING})
"""States in which a worker holds the build under a lease."""

WORDS: dict[str, frozenset[Status]] = {
    "queued": frozenset({Status.QUEUED}),
    "building": RUNNING,
    "succeeded": frozenset({Status.SUCCEEDED}),
    "failed": frozenset({Status.FAILED, Status.LOST}),
    "cancelled": frozenset({Status.CANCELLED}),
}
"""Public status words."""


def sources(to: Status) -> frozenset[Status]:
    """The states from which `to` can be reached."""
    return frozenset(status for status, onward in MOVES.items() if to in onward)


def api_word(status: Status, reason: str) -> str:
    """The status in the format of the Images API; `reason` completes an error."""
    if status is Status.QUEUED:
        return "pending build"
    if status in RUNNING:
        return "building"
    if status is Status.SUCCEEDED:
        return "built and pushed"
    return f"error: {reason}"


def state_word(status: Status) -> str:
    """The public status word: one of five, independent of the reason of a failure."""
    return next(word for word, statuses in WORDS.items() if status in statuses)
