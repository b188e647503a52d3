"""What operators may do to builds, each one call into the lifecycle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from builds.lifecycle import (
    ContextGone,
    Superseded,
    UnderWay,
    request_cancel,
    request_front,
    request_retry,
)
from builds.models import Build


class Refused(Exception):
    """It cannot be done to this build any more; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """Something that operators do to builds."""

    name: str
    label: str
    act: Callable[[Build], str]
    """Through the lifecycle; what came of it, which the audit entry says too. Raises Refused."""
    does: str
    """What it will do, said before."""
    danger: bool = False
    makes_another: bool = False
    """There is a newer build to look at then."""


def _cancel(build: Build) -> str:
    if not request_cancel(build):
        now = Build.objects.only("status").get(pk=build.pk)
        raise Refused(f"There is nothing to cancel: it has ended ({now.status}).")
    return "Cancelled."


def _retry(build: Build) -> str:
    try:
        return f"Asked for attempt {request_retry(build).number}."
    except UnderWay as problem:
        raise Refused("It has not ended: cancel it, or wait for its end.") from problem
    except ContextGone as problem:
        text = "What it was built from is no longer stored: its owner has to send it again."
        raise Refused(text) from problem
    except Superseded as problem:
        raise Refused("A newer attempt has taken its place, or its image is deleted.") from problem


def _front(build: Build) -> str:
    if not request_front(build):
        raise Refused("It does not wait in the queue any more.")
    return "Moved to the front of the queue."


VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="cancel",
            label="Cancel",
            act=_cancel,
            does="A queued build ends at once, a running one within seconds and its work is thrown "
            "away. Log and context stay.",
            danger=True,
        ),
        Verb(
            name="retry",
            label="Retry",
            act=_retry,
            does="A new attempt is queued with the same Dockerfile and context. Nobody is charged "
            "for it. The last good build stays to be pulled until the new one is pushed.",
            makes_another=True,
        ),
        Verb(
            name="front",
            label="Move to the front",
            act=_front,
            does="It is taken next, before everything else that waits.",
        ),
    )
}
