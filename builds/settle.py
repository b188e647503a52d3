"""Ends an attempt: final status, last log line and what follows from it, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from builds.logs.bell import ring
from builds.logs.lines import LogLine
from builds.logs.steps import settled_times
from builds.logs.store import seal
from builds.metrics import DURATION, ENDED, LOG_LINES
from builds.models import Build, targets
from builds.status import Status, sources

MAX_RESTARTS = 3
"""A build under which workers keep dying is not tried for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt has no image: whose side it was on, a stable code, one sentence."""

    fault: Literal["user", "service"]
    code: str
    text: str


CANCELLED = Failure(fault="user", code="cancelled", text="cancelled")
INTERRUPTED = Failure(
    fault="service",
    code="interrupted",
    text="interrupted: Slipway was stopped; the build starts again",
)
WORKER_LOST = Failure(
    fault="service", code="worker-lost", text="interrupted: its worker died; the build starts again"
)
BUILDER_LOST = Failure(
    fault="service",
    code="builder-lost",
    text="interrupted: its builder was killed; the build starts again",
)
GAVE_UP = Failure(
    fault="service",
    code="worker-lost",
    text=f"its worker died {MAX_RESTARTS + 1} times under this build; ask the operator",
)
GAVE_UP_BUILDER = Failure(
    fault="service",
    code="builder-lost",
    text=f"its builder was killed {MAX_RESTARTS + 1} times under this build; ask the operator",
)
DEATHS: Mapping[Failure, Failure] = {WORKER_LOST: GAVE_UP, BUILDER_LOST: GAVE_UP_BUILDER}
"""What a build may have caused itself, and what to say when it has happened too often."""


def settle_failed(
    build_id: UUID, *, fence: int | None, to: Status, failure: Failure, line: LogLine | None = None
) -> Build | None:
    """Moves to FAILED, CANCELLED or LOST, the reason as the last stderr line.

    `fence` None settles whoever holds it. Returns the successor of a LOST attempt, queued but not
    yet sent; the attempt itself otherwise; None where the move was not to be made any more. A
    worker that died too often under a build turns LOST into FAILED.
    """
    with transaction.atomic():
        # Like everybody who holds both, before the build.
        target = targets().select_for_update().filter(current=build_id).first()
        build = _locked(build_id, fence=fence, to=to)
        if build is None:
            return None
        died = failure in DEATHS
        if died and build.restarts >= MAX_RESTARTS:
            to, failure, line = Status.FAILED, DEATHS[failure], None
        last = line or LogLine(
            stream="stderr", text=failure.text, at=timezone.now(), step=build.step or None
        )
        _move(
            build,
            to,
            last,
            failure_fault=failure.fault,
            failure_code=failure.code,
            failure_text=failure.text,
        )
        if to is Status.LOST:
            build = _successor(build, restarts=build.restarts + died)
            if target is not None:
                build.become_current(target)
    # The caller may hold a transaction around this one.
    transaction.on_commit(partial(ring, build.image_id))
    return build


def settle_succeeded(build: Build, *, digest: str, image_bytes: int, line: LogLine) -> bool:
    """Moves to SUCCEEDED and makes it its target's good attempt; False where it was lost before.

    Called with the row of its target locked, after the public tag has been moved.
    """
    with transaction.atomic():
        held = _locked(build.pk, fence=build.fence, to=Status.SUCCEEDED)
        if held is None:
            return False
        _move(held, Status.SUCCEEDED, line, digest=digest, image_bytes=image_bytes)
        targets().filter(pk=build.image_id).update(good=held)
    # The caller may hold a transaction around this one.
    transaction.on_commit(partial(ring, build.image_id))
    return True


def _locked(build_id: UUID, *, fence: int | None, to: Status) -> Build | None:
    build = Build.objects.select_for_update().filter(pk=build_id, status__in=sources(to)).first()
    if build is None or (fence is not None and build.fence != fence):
        return None
    return build


def _move(build: Build, to: Status, last: LogLine, **values: Any) -> None:
    head = seal(build, last)
    now = timezone.now()
    head["step_times"] = settled_times(build.step_times, OUTCOMES.get(to, "cancelled"), now)
    Build.objects.held_by(build).move(
        to, fence=F("fence") + 1, ended_at=now, lease_until=None, **head, **values
    )
    took = (now - build.started_at).total_seconds() if build.started_at else None
    fault = values.get("failure_fault", "")
    transaction.on_commit(partial(_count, to, fault=fault, took=took))


def _count(to: Status, *, fault: str, took: float | None) -> None:
    ENDED.labels(to, fault).inc()
    LOG_LINES.inc()  # the one that says why
    if took is not None:
        DURATION.labels(to).observe(took)


OUTCOMES: Mapping[Status, Literal["succeeded", "failed"]] = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
}
"""Of the steps that were still running; all else stops them."""


def _successor(build: Build, *, restarts: int) -> Build:
    successor = build.again(restarts=restarts, free=True)
    # Its place in the queue is the one it had.
    successor.queued_at = build.queued_at
    successor.front = build.front
    successor.discarded_at = build.discarded_at
    successor.save(force_insert=True)
    return successor
