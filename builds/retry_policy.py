"""Retries of builds that failed through Slipway's fault: which, when and how often."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from builds.failures import BUILDER_LOST, INTERRUPTED, WORKER_LOST, Failure
from builds.models import Build
from builds.models.clock import from_now

DELAYS = (5, 15, 60, 300)
"""Seconds before the next attempt; the last value repeats."""
TRY_FOR = timedelta(hours=1)
"""Time limit for retries, from the first failure."""
MAX_RESTARTS = 3
"""After this many dead workers or builders, the build itself is assumed to be the cause."""
MAX_INTERRUPTIONS = 10
"""Limit for builds that take longer than Slipway runs between stops."""

PARTS: Mapping[str, str] = {
    "registry": "the registry",
    "push": "the registry",
    "storage": "the storage",
    "fetch": "the network",
    "disk": "disk space",
}
"""What was missing, by failure code. For all other codes: a worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Retry the build with a new attempt."""

    text: str
    """Final log line of the failed attempt."""
    values: Mapping[str, Any]
    """Field values of the next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRetry:
    """The build has failed finally."""

    text: str


def next_try(build: Build, failure: Failure) -> Retry | NoRetry:
    """Decide about a retry after a failure of the service."""
    counts = {
        "restarts": build.restarts,
        "interruptions": build.interruptions,
        "retries": build.retries,
        "retry_until": build.retry_until,
    }
    if failure is INTERRUPTED:
        if build.interruptions >= MAX_INTERRUPTIONS:
            times = MAX_INTERRUPTIONS + 1
            return NoRetry(text=f"Slipway was stopped {times} times under this build")
        counts["interruptions"] = build.interruptions + 1
        return Retry(text=failure.text, values=counts)
    if failure.code in DEATHS:
        if build.restarts >= MAX_RESTARTS:
            times = MAX_RESTARTS + 1
            return NoRetry(text=f"{DEATHS[failure.code]} {times} times; ask the operator")
        counts["restarts"] = build.restarts + 1
        if failure in (WORKER_LOST, BUILDER_LOST):
            elsewhere = {"not_before": from_now(0), "avoid_worker": build.worker}
            return Retry(text=failure.text, values={**counts, **elsewhere})
    until = build.retry_until or timezone.now() + TRY_FOR
    if timezone.now() >= until:
        tries = build.retries + 1
        return NoRetry(text=f"{failure.text} (tried {tries} times in an hour; ask the operator)")
    delay = DELAYS[min(build.retries, len(DELAYS) - 1)]
    values = {
        **counts,
        "retries": build.retries + 1,
        "retry_until": until,
        "not_before": from_now(delay),
        "avoid_worker": build.worker,
        "waiting_for": f"waiting for {PARTS.get(failure.code, 'a worker')}: {failure.text}",
    }
    return Retry(text=f"{failure.text}; next attempt in {delay} s", values=values)


DEATHS: Mapping[str, str] = {
    WORKER_LOST.code: "its worker died under this build",
    BUILDER_LOST.code: "its builder was killed under this build",
    "internal": "an internal error ended this build",
}
"""Failures that the build may have caused itself, by code."""
