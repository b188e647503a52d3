"""Place, reasons and estimate of a waiting build, as clients see them."""

from typing import Any, TypedDict
from uuid import UUID

from builds.queue.status import queue_statuses
from builds.status import Status


class QueueFacts(TypedDict):
    """`position` counts from 1."""

    position: int | None
    estimate: dict[str, Any] | None
    reasons: list[dict[str, Any]]


def queue_facts(build_id: UUID, status: str) -> QueueFacts:
    """Makes no query for a build that does not wait."""
    found = queue_statuses([build_id]).get(build_id) if status == Status.QUEUED else None
    if found is None:
        return {"position": None, "estimate": None, "reasons": []}
    estimate = found.estimate
    return {
        "position": found.position,
        "estimate": {
            "low_seconds": round(estimate.low),
            "high_seconds": round(estimate.high),
            "text": estimate.text,
        }
        if estimate
        else None,
        "reasons": [{"code": each.code, "text": each.text} for each in found.reasons],
    }
