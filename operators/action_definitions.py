"""Definitions of operators' actions. An app defines the actions for its model in a `Subject`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from django.contrib.admin.models import CHANGE
from django.db.models import Model, QuerySet
from django.urls import reverse

T = TypeVar("T", bound=Model)


class Refused(Exception):
    """The action is not possible for this row. The message says why."""


class Actor(Protocol):
    """The user who requests an action."""

    is_active: Any
    is_staff: Any

    def has_perm(self, perm: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[T]):
    """One action, such as deleting an image."""

    name: str
    label: str
    """Text of its button."""
    permission: str
    done: str
    """Past tense for messages, after "3 images"."""
    act: Callable[[T, Any], str]
    """Performs it on one row for a user, with one call into the domain layer. Returns the result
    as a sentence.

    Raises Refused, CodedError or one of `Subject.refusals`.
    """
    fits: Callable[[T], bool]
    """Whether it applies to the row now, so that its button is shown. `act` checks this again."""
    danger: bool = False
    flag: int = CHANGE
    """Action flag in the audit log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject(Generic[T]):
    """The rows of one model, and all actions on them."""

    model: type[T]
    look: str
    """The permission to view them."""
    made_at: str
    """Field with the creation time. It distinguishes a row from a later one with the same id."""
    verbs: Mapping[str, Verb[T]]
    consequences: Callable[[Verb[T], "QuerySet[T]"], list[str]]
    """The effects of an action on rows, as sentences. Needs a constant number of queries."""
    rows: Callable[[], "QuerySet[T]"]
    """All rows, with everything that actions need."""
    called: Callable[["QuerySet[T]"], "QuerySet[T]"]
    """Reduces a queryset to the fields for the rows' names and `made_at`."""
    refusals: Mapping[type[Exception], str]
    """Messages for the exceptions by which the domain layer refuses an action."""
    locked: bool = False
    """Whether the row is locked during its action."""
    leads_to: Callable[[UUID], UUID | None]
    """The id of the row whose page to show after an action. None for the list."""
    left: Callable[["QuerySet[Any, Any]"], int] = lambda _ids: 0
    """How many items of deleted rows are still to be removed, for example from the registry."""

    @property
    def name(self) -> str:
        """`app.model`, as stored in `BulkAction.subject`."""
        return self.model._meta.label_lower

    def address(self, what: str, *args: Any) -> str:
        """The URL of a page of the admin."""
        options = self.model._meta
        return reverse(f"admin:{options.app_label}_{options.model_name}_{what}", args=args)

    def count(self, number: int) -> str:
        """A number with the noun of the model, such as "3 images"."""
        options = self.model._meta
        noun = options.verbose_name if number == 1 else options.verbose_name_plural
        return f"{number:,} {noun}"

    def shown_to(self, actor: Actor) -> bool:
        return bool(actor.is_active and actor.is_staff and actor.has_perm(self.look))

    def allows(self, actor: Actor, verb: Verb[T]) -> bool:
        return self.shown_to(actor) and actor.has_perm(verb.permission)

    def allowed(self, actor: Actor) -> list[Verb[T]]:
        """The actions that the actor may perform."""
        return [verb for verb in self.verbs.values() if self.allows(actor, verb)]

    def buttons(self, actor: Actor, one: T) -> list[dict[str, Any]]:
        """The actions that are allowed for the actor and apply to the row."""
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
    """Add a subject to SUBJECTS, in which bulk actions look it up."""
    SUBJECTS[subject.name] = subject
    return subject
