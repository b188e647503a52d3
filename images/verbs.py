"""What operators may do to images, each one call into the catalog."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.contrib.admin.models import CHANGE, DELETION

from accounts.models import User
from images import catalog
from images.models import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """Something that operators do to images."""

    name: str
    label: str
    """On buttons."""
    permission: str
    done: str
    """After "3 images"."""
    one: str
    """Of one image."""
    act: Callable[[Image, User], str]
    """Through the catalog; what the audit entry says of it."""
    danger: bool = False
    flag: int = CHANGE


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


CHANGE_RIGHT, DELETE_RIGHT = "images.change_image", "images.delete_image"
VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="rebuild",
            label="Rebuild",
            permission=CHANGE_RIGHT,
            done="queued to be built again",
            one="a new attempt is queued",
            act=_rebuild,
        ),
        Verb(
            name="cancel",
            label="Cancel build",
            permission=CHANGE_RIGHT,
            done="cancelled",
            one="its build is being cancelled",
            act=_cancel,
            danger=True,
        ),
        Verb(
            name="protect",
            label="Protect",
            permission=CHANGE_RIGHT,
            done="protected",
            one="protected",
            act=_changes("Protected.", protected=True),
        ),
        Verb(
            name="unprotect",
            label="Take protection off",
            permission=CHANGE_RIGHT,
            done="taken out of protection",
            one="no longer protected",
            act=_changes("Took the protection off.", protected=False),
        ),
        Verb(
            name="publish",
            label="Make public",
            permission=CHANGE_RIGHT,
            done="made public",
            one="public now",
            act=_changes("Made public.", public=True),
        ),
        Verb(
            name="hide",
            label="Make private",
            permission=CHANGE_RIGHT,
            done="made private",
            one="private now",
            act=_changes("Made private.", public=False),
        ),
        Verb(
            name="delete",
            label="Delete",
            permission=DELETE_RIGHT,
            done="deleted",
            one="deleted; its tag, its context and its logs go too",
            act=_delete,
            danger=True,
            flag=DELETION,
        ),
    )
}
