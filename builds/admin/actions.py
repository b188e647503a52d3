"""Admin actions on builds. Each makes one call to `builds.lifecycle`."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from builds.lifecycle import (
    Superseded,
    request_cancel,
    request_front,
    request_retry,
)
from builds.models import Build, targets
from builds.status import FINAL, Status
from operators.action_definitions import Refused, Subject, Verb, register

LOOK, CHANGE = "builds.view_build", "builds.change_build"
CONSEQUENCES = {
    "cancel": [
        "A queued build ends at once.",
        "A running one ends within seconds, its work thrown away.",
        "Logs and contexts stay.",
    ],
    "retry": [
        "A new attempt is queued with the same Dockerfile and context. Nobody is charged for it.",
        "The last good build stays to be pulled until the new one is pushed.",
    ],
    "front": ["It is taken next, before everything else that waits."],
}


def _cancel(build: Build, by: Any) -> str:
    if not request_cancel(build):
        now = Build.objects.only("status").get(pk=build.pk)
        raise Refused(f"There is nothing to cancel: it has ended ({now.status}).")
    return "Cancelled."


def _retry(build: Build, by: Any) -> str:
    return f"Asked for attempt {request_retry(build).number}."


def _front(build: Build, by: Any) -> str:
    if not request_front(build):
        raise Refused("It does not wait in the queue any more.")
    return "Moved to the front of the queue."


def _retriable(build: Build) -> bool:
    ended = build.state in FINAL and bool(build.context_key)
    return ended and targets().filter(current=build).exists()


def _newest(build_id: UUID) -> UUID | None:
    """The newest attempt of the same image, to show after an action such as retry has added one."""
    image = Build.objects.filter(pk=build_id).values("image_id")
    attempts = Build.objects.filter(image_id__in=image).order_by("-number")
    return attempts.values_list("pk", flat=True).first()


VERBS: tuple[Verb[Build], ...] = (
    Verb(
        name="cancel",
        label="Cancel",
        permission=CHANGE,
        done="cancelled",
        act=_cancel,
        fits=lambda build: build.state not in {*FINAL, Status.CANCELLING},
        danger=True,
    ),
    Verb(
        name="retry",
        label="Retry",
        permission=CHANGE,
        done="queued to be tried again",
        act=_retry,
        fits=_retriable,
    ),
    Verb(
        name="front",
        label="Move to the front",
        permission=CHANGE,
        done="moved to the front of the queue",
        act=_front,
        fits=lambda build: build.state is Status.QUEUED,
    ),
)


def _consequences(verb: Verb[Build], builds: "QuerySet[Build]") -> list[str]:
    return CONSEQUENCES[verb.name]


def _called(builds: "QuerySet[Build]") -> "QuerySet[Build]":
    return builds.only("label", "number", "queued_at")


BUILDS: Subject[Build] = register(
    Subject(
        model=Build,
        look=LOOK,
        made_at="queued_at",
        verbs={verb.name: verb for verb in VERBS},
        consequences=_consequences,
        rows=Build.objects.light,
        called=_called,
        refusals={
            Superseded: "A newer attempt has taken its place, or its image is deleted.",
        },
        leads_to=_newest,
    )
)
