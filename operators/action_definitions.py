"""What operators may do to things of a kind. Whoever has such things says so with one `Subject`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from django.contrib.admin.models import CHANGE
from django.db.models import Model, QuerySet
from django.urls import reverse

T = TypeVar("T", bound=Model)


class Refused(Exception):
    """It cannot be done to this one; the text says why."""


class Actor(Protocol):
    """Who asks."""

    is_active: Any
    is_staff: Any

    def has_perm(self, perm: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[T]):
    """Something that operators do."""

    name: str
    label: str
    """On buttons."""
    permission: str
    done: str
    """After "3 images"."""
    act: Callable[[T, Any], str]
    """Through the one door that there is, for whoever asked; what came of it, in a sentence.

    Raises Refused, or what the subject refuses by.
    """
    fits: Callable[[T], bool]
    """Whether there is anything to do. Who comes late is told so all the same."""
    danger: bool = False
    flag: int = CHANGE
    """In the audit log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject(Generic[T]):
    """Things of one model, and all that is done to them."""

    model: type[T]
    look: str
    """The right without which nothing of them is shown."""
    made_at: str
    """The field that tells one from what is made later under its id."""
    verbs: Mapping[str, Verb[T]]
    consequences: Callable[[Verb[T], "QuerySet[T]"], list[str]]
    """What will come of it, in sentences: a few queries, however many there are."""
    rows: Callable[[], "QuerySet[T]"]
    """With all that verbs need."""
    called: Callable[["QuerySet[T]"], "QuerySet[T]"]
    """With no more than what they are called by, and `made_at`."""
    refusals: Mapping[type[Exception], str]
    """Why, by what the doors raise."""
    locked: bool = False
    """Whether the row is locked while its verb is at work."""
    leads_to: Callable[[UUID], UUID | None]
    """Whose page to show when it was done to this one; None where its list has to do."""
    left: Callable[["QuerySet[Any, Any]"], int] = lambda _ids: 0
    """How much is still to be removed of those that were deleted."""

    @property
    def name(self) -> str:
        """As in `BulkAction.subject`."""
        return self.model._meta.label_lower

    def address(self, what: str, *args: Any) -> str:
        """Of a page of the admin."""
        options = self.model._meta
        return reverse(f"admin:{options.app_label}_{options.model_name}_{what}", args=args)

    def count(self, number: int) -> str:
        options = self.model._meta
        noun = options.verbose_name if number == 1 else options.verbose_name_plural
        return f"{number:,} {noun}"

    def shown_to(self, actor: Actor) -> bool:
        return bool(actor.is_active and actor.is_staff and actor.has_perm(self.look))

    def allows(self, actor: Actor, verb: Verb[T]) -> bool:
        return self.shown_to(actor) and actor.has_perm(verb.permission)

    def allowed(self, actor: Actor) -> list[Verb[T]]:
        return [verb for verb in self.verbs.values() if self.allows(actor, verb)]

    def buttons(self, actor: Actor, one: T) -> list[dict[str, Any]]:
        """What this operator may do to one, where there is anything to do."""
        return [
            {
                "label": verb.label,
                "danger": verb.danger,
                "address": self.address(verb.name, one.pk),
            }
            for verb in self.allowed(actor)
            if verb.fits(one)
        ]


SUBJECTS: dict[str, Subject[Any]] = {}


def register(subject: Subject[T]) -> Subject[T]:
    """Makes it known to whoever carries on what was asked of such things."""
    SUBJECTS[subject.name] = subject
    return subject
