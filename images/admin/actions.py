"""Admin actions on images. Each makes one call into the catalog."""

from collections.abc import Callable
from typing import Any

from django.contrib.admin.models import DELETION
from django.db.models import QuerySet

from accounts.models import User
from builds.models import Build
from builds.status import FINAL, Status
from images import catalog
from images.admin.consequences import consequences
from images.models import OVERSEE, Image
from operators.action_definitions import Subject, Verb, register
from operators.bulk import GONE

CHANGE, DELETE = "images.change_image", "images.delete_image"


def _rebuild(image: Image, by: User) -> str:
    return f"Asked for attempt {catalog.rebuild(image, by=by).build.number}."


def _cancel(image: Image, by: User) -> str:
    return f"Cancelled attempt {catalog.cancel(image).build.number}."


def _delete(image: Image, by: User) -> str:
    catalog.delete(image)
    return "Deleted: its tag in the registry, its context and its logs go too."


def _changes(text: str, **described: bool) -> Callable[[Image, User], str]:
    def change(image: Image, by: User) -> str:
        catalog.change(image, by=by, **described)
        return text

    return change


def _rebuildable(image: Image) -> bool:
    return image.build.state in FINAL and bool(image.build.context_key)


def _cancellable(image: Image) -> bool:
    return image.build.state not in FINAL and image.build.state is not Status.CANCELLING


def _called(images: "QuerySet[Image]") -> "QuerySet[Image]":
    bare = images.select_related(None).select_related("owner")
    return bare.only("name", "tag", "created_at", "owner__username")


def _left(image_ids: Any) -> int:
    unpurged = Build.objects.filter(discarded_at__isnull=False, purged_at=None)
    return unpurged.filter(image_id__in=image_ids).count()


VERBS: tuple[Verb[Image], ...] = (
    Verb(
        name="rebuild",
        label="Rebuild",
        permission=CHANGE,
        done="queued to be built again",
        act=_rebuild,
        fits=_rebuildable,
    ),
    Verb(
        name="cancel",
        label="Cancel build",
        permission=CHANGE,
        done="cancelled",
        act=_cancel,
        fits=_cancellable,
        danger=True,
    ),
    Verb(
        name="protect",
        label="Protect",
        permission=CHANGE,
        done="protected",
        act=_changes("Protected.", protected=True),
        fits=lambda image: not image.protected,
    ),
    Verb(
        name="unprotect",
        label="Take protection off",
        permission=CHANGE,
        done="taken out of protection",
        act=_changes("Took the protection off.", protected=False),
        fits=lambda image: image.protected,
    ),
    Verb(
        name="publish",
        label="Make public",
        permission=CHANGE,
        done="made public",
        act=_changes("Made public.", public=True),
        fits=lambda image: not image.public,
    ),
    Verb(
        name="hide",
        label="Make private",
        permission=CHANGE,
        done="made private",
        act=_changes("Made private.", public=False),
        fits=lambda image: image.public,
    ),
    Verb(
        name="delete",
        label="Delete",
        permission=DELETE,
        done="deleted",
        act=_delete,
        fits=lambda image: not image.protected,
        danger=True,
        flag=DELETION,
    ),
)
IMAGES: Subject[Image] = register(
    Subject(
        model=Image,
        look=OVERSEE,
        made_at="created_at",
        verbs={verb.name: verb for verb in VERBS},
        consequences=consequences,
        rows=Image.objects.with_build,
        called=_called,
        refusals={
            Image.DoesNotExist: GONE,
        },
        locked=True,
        leads_to=lambda image_id: image_id,
        left=_left,
    )
)
