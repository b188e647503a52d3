"""Runs actions of operators on one or thousands of rows, and survives interruptions.

A bulk action is stored with one item for each selected row. It is continued by the request that
confirmed it, by the page that shows its progress, and by housekeeping if that page is closed. Each
item is one transaction: the action, the audit entry and the item's state. So no item is done
twice, and items that are not done stay recorded.
"""

from collections import Counter
from datetime import timedelta
from itertools import islice
from logging import getLogger
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Model, QuerySet
from django.utils import timezone

from common.error_codes import CodedError
from common.outages import DATABASE_OUTAGES
from operators.action_definitions import SUBJECTS, Refused, Subject, Verb
from operators.audit import write_entry
from operators.models import BulkAction, BulkItem

MOST = 10_000
"""Most rows in one action."""
KEPT = timedelta(days=30)
DRAFTS_KEPT = timedelta(days=1)
BATCH = 500
GONE = "It is gone: somebody deleted it before."
ANOTHER = "It is another one by now: the one that was selected is gone."
STOPPED = "It was stopped before its turn."
NOT_ALLOWED = "Whoever asked for it may not do so any more."
BROKEN = "Something broke on Slipway's side; its log has the traceback."
logger = getLogger(__name__)
T = TypeVar("T", bound=Model)


class TooMany(Exception):
    """More than MOST rows are selected."""


@transaction.atomic
def draft(subject: Subject[T], verb: Verb[T], rows: "QuerySet[T]", *, by: Any) -> BulkAction:
    """Store the selected rows as an action to confirm, and delete old actions. Raises TooMany."""
    now = timezone.now()
    BulkAction.objects.filter(confirmed_at=None, created_at__lt=now - DRAFTS_KEPT).delete()
    BulkAction.objects.filter(ended_at__lt=now - KEPT).delete()
    # Read one more than allowed in one query, so that nothing changes between count and read.
    found = list(subject.called(rows)[: MOST + 1])
    if len(found) > MOST:
        raise TooMany
    action = BulkAction.objects.create(subject=subject.name, verb=verb.name, by=by)
    items = (
        BulkItem(
            action=action,
            object_id=one.pk,
            label=str(one),
            made_at=getattr(one, subject.made_at),
        )
        for one in found
    )
    while some := list(islice(items, BATCH)):
        BulkItem.objects.bulk_create(some)
    return action


def confirm(action: BulkAction) -> bool:
    """Confirm an action, so that it may run. Returns False if it was already confirmed."""
    unconfirmed = BulkAction.objects.filter(pk=action.pk, confirmed_at=None)
    return bool(unconfirmed.update(confirmed_at=timezone.now()))


def stop(action: BulkAction) -> None:
    """Stop an action: items that are still waiting become refused."""
    waiting = BulkItem.objects.filter(action=action, state=BulkItem.WAITING)
    waiting.update(state=BulkItem.REFUSED, note=STOPPED)
    BulkAction.objects.filter(pk=action.pk, ended_at=None).update(ended_at=timezone.now())


def carry_on(action_id: UUID, *, seconds: float) -> None:
    """Process waiting items of a confirmed action for about `seconds`, but at least one."""
    until = monotonic() + seconds
    action = BulkAction.objects.select_related("by").filter(pk=action_id).first()
    if action is None or action.confirmed_at is None or action.ended_at is not None:
        return
    subject = SUBJECTS[action.subject]
    verb = subject.verbs[action.verb]
    waiting = BulkItem.objects.filter(action=action, state=BulkItem.WAITING).order_by("id")
    if not subject.allows(action.by, verb):
        waiting.update(state=BulkItem.REFUSED, note=NOT_ALLOWED)
    while (item := waiting.first()) is not None:
        try:
            _do(item, subject, verb, action.by)
        except DATABASE_OUTAGES:
            logger.warning("the database is busy or away; %s goes on later", action, exc_info=True)
            return
        if monotonic() >= until:
            break
    if not waiting.exists():
        BulkAction.objects.filter(pk=action_id, ended_at=None).update(ended_at=timezone.now())


def open_actions() -> QuerySet[BulkAction]:
    """Actions that are confirmed and have not ended, the oldest first."""
    unended = BulkAction.objects.filter(confirmed_at__isnull=False, ended_at=None)
    return unended.select_related("by").order_by("created_at")


def carry_on_all(*, seconds: float) -> None:
    """Process open actions for about `seconds`. Called by housekeeping."""
    until = monotonic() + seconds
    for action_id in open_actions().values_list("pk", flat=True):
        if monotonic() < until:
            carry_on(action_id, seconds=until - monotonic())


def counts(action: BulkAction) -> Counter[str]:
    """Number of items by state: waiting, done, refused."""
    found = action.items.order_by().values_list("state").annotate(Count("pk"))
    return Counter(dict(found))


def _do(item: BulkItem, subject: Subject[Any], verb: Verb[Any], by: Any) -> None:
    """Process one item in one transaction: the action, its audit entry and the item's state."""
    with transaction.atomic():
        held = BulkItem.objects.filter(pk=item.pk, state=BulkItem.WAITING)
        if not held.update(state=BulkItem.DONE):
            return  # another process has done it meanwhile
        done = BulkItem.objects.filter(pk=item.pk)
        try:
            with transaction.atomic():
                said = verb.act(_meant(item, subject), by)
                _note(item, subject, verb, by, said)
                done.update(note=said[:300])
        except (Refused, CodedError) as refusal:
            done.update(state=BulkItem.REFUSED, note=str(refusal)[:300])
        except tuple(subject.refusals) as refusal:
            reasons = subject.refusals.items()
            note = next(text for kind, text in reasons if isinstance(refusal, kind))
            done.update(state=BulkItem.REFUSED, note=note)
        except DATABASE_OUTAGES:
            raise  # everything is rolled back, and the next call tries again
        except Exception:
            logger.exception("%s of %s %s broke", verb.name, subject.name, item.object_id)
            done.update(state=BulkItem.REFUSED, note=BROKEN)


def _meant(item: BulkItem, subject: Subject[T]) -> T:
    """The current row of an item. Raises Refused if it was deleted or replaced."""
    very = subject.rows().filter(pk=item.object_id)
    known = very.select_for_update() if subject.locked else very
    made_at = known.values_list(subject.made_at, flat=True).first()
    if made_at is None:
        raise Refused(GONE)
    if made_at != item.made_at:
        raise Refused(ANOTHER)
    return very.get()


def _note(item: BulkItem, subject: Subject[Any], verb: Verb[Any], by: Any, said: str) -> None:
    write_entry(
        by,
        model=subject.model,
        object_id=item.object_id,
        name=item.label,
        text=said,
        flag=verb.flag,
    )
