"""End an attempt: final status, last log line and consequences, in one transaction."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from builds.failures import CANCELLED, Failure
from builds.logs.lines import LogLine
from builds.logs.pubsub import ring
from builds.logs.steps import settled_times
from builds.logs.store import seal
from builds.metrics import DURATION, ENDED, LOG_LINES
from builds.models import Build, targets
from builds.retry_policy import Retry, next_try
from builds.signals import build_ended
from builds.status import Status, sources


def settle_failed(
    build_id: UUID, *, fence: int | None, to: Status, failure: Failure, line: LogLine | None = None
) -> Build | None:
    """Move a build to FAILED, CANCELLED or LOST, and log the reason as the last stderr line.

    With `fence` None the build is settled whichever worker holds it. A failure caused by the
    service becomes LOST and is retried as a new attempt, or FAILED if there were too many retries;
    during a cancellation it becomes CANCELLED. Returns the new attempt of a LOST build (queued, but
    no message sent yet), otherwise the build itself, or None if the move was no longer possible.
    """
    with transaction.atomic():
        # Lock order: everybody who locks both locks the target before the build.
        target = targets().select_for_update().filter(current=build_id).first()
        build = _locked(build_id, fence=fence, to=to)
        if build is None:
            return None
        retry: Retry | None = None
        text, free = failure.text, build.free
        if failure.fault == "service" and build.state is Status.CANCELLING:
            to, failure, line, text = Status.CANCELLED, CANCELLED, None, CANCELLED.text
        elif failure.fault == "service":
            found = next_try(build, failure)
            retry = found if isinstance(found, Retry) else None
            to = Status.LOST if retry else Status.FAILED
            # The next attempt takes over the charge. If this was the last, nobody is charged.
            text, free = found.text, True
        if line is not None and text.startswith(failure.text):
            last = line._replace(text=line.text + text.removeprefix(failure.text))
        else:
            last = LogLine(stream="stderr", text=text, at=timezone.now(), step=build.step or None)
        _move(
            build,
            to,
            last,
            free=free,
            failure_fault=failure.fault,
            failure_code=failure.code,
            failure_text=text,
            exit_code=failure.exit_code if failure.exit_code in EXIT_CODES else None,
        )
        if target is not None:
            targets().filter(pk=target.pk).update(ended_at=build.ended_at)
            build_ended.send(sender=Build, build_id=build.pk, status=to)
        if retry is not None:
            build = _successor(build, retry)
            if target is not None:
                build.become_current(target)
    # The caller may have an outer transaction.
    transaction.on_commit(partial(ring, build.image_id))
    return build


def settle_succeeded(
    build: Build,
    *,
    digest: str,
    image_bytes: int,
    line: LogLine,
    expires_after: timedelta | None = None,
    contents: Mapping[str, Any] | None = None,
) -> bool:
    """Move a build to SUCCEEDED and make it the target's good attempt. False if the build was lost.

    Call it with the target's row locked, after the public tag has been moved.
    """
    with transaction.atomic():
        held = _locked(build.pk, fence=build.fence, to=Status.SUCCEEDED)
        if held is None:
            return False
        facts = {"digest": digest, "image_bytes": image_bytes, "contents": contents or None}
        _move(held, Status.SUCCEEDED, line, **facts)
        targets().filter(pk=build.image_id).update(
            good=held,
            good_bytes=image_bytes,
            good_ms=held.duration_ms or 0,
            ended_at=held.ended_at,
            expires_at=timezone.now() + expires_after if expires_after else None,
        )
        build_ended.send(sender=Build, build_id=held.pk, status=Status.SUCCEEDED)
    # The caller may have an outer transaction.
    transaction.on_commit(partial(ring, build.image_id))
    return True


def _locked(build_id: UUID, *, fence: int | None, to: Status) -> Build | None:
    build = Build.objects.select_for_update().filter(pk=build_id, status__in=sources(to)).first()
    if build is None or (fence is not None and build.fence != fence):
        return None
    return build


def _move(build: Build, to: Status, last: LogLine, **values: Any) -> None:
    head = seal(build, last)
    now = build.ended_at = timezone.now()
    head["step_times"] = settled_times(build.step_times, OUTCOMES.get(to, "cancelled"), now)
    Build.objects.held_by(build).move(
        to, fence=F("fence") + 1, ended_at=now, lease_until=None, **head, **values
    )
    took = (now - build.started_at).total_seconds() if build.started_at else None
    fault = values.get("failure_fault", "")
    transaction.on_commit(partial(_count, to, fault=fault, took=took))


def _count(to: Status, *, fault: str, took: float | None) -> None:
    ENDED.labels(to, fault).inc()
    LOG_LINES.inc()  # the line with the reason
    if took is not None:
        DURATION.labels(to).observe(took)


EXIT_CODES = range(256)
"""Valid exit codes. Engines parse them from text that a build may influence."""
OUTCOMES: Mapping[Status, Literal["succeeded", "failed"]] = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
}
"""Final state of steps that were still running. With any other status they are cancelled."""


def _successor(build: Build, retry: Retry) -> Build:
    successor = build.again(restarts=0, free=build.free)
    for name, value in retry.values.items():
        setattr(successor, name, value)
    # It keeps its place in the queue.
    successor.queued_at = build.queued_at
    successor.front = build.front
    successor.discarded_at = build.discarded_at
    successor.save(force_insert=True)
    return successor
