"""What operators do to images, one or thousands: each whole or not at all, whoever goes away.

A bulk action is a row with an item for each image. Whoever has time carries it on: the request
that confirmed it, the page that shows its progress, and the housekeeping where that page was
closed. Each item is one transaction: the call into the catalog, the audit entry and the item's
mark. So nothing is done twice, and what was not done stays written down.
"""

from collections import Counter
from datetime import timedelta
from itertools import islice
from logging import getLogger
from time import monotonic
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from accounts.models import User
from builds.lifecycle import ContextGone, UnderWay
from images import catalog
from images.models import BulkAction, BulkItem, Image, ImageQuerySet
from images.verbs import VERBS, Verb

MOST = 10_000
"""Images in one action."""
KEPT = timedelta(days=30)
DRAFTS_KEPT = timedelta(days=1)
BATCH = 500
logger = getLogger(__name__)


class TooMany(Exception):
    """More images are meant than one action takes."""


class Refused(Exception):
    """It cannot be done to this image; the text says why."""


GONE = "It is gone: somebody deleted it before."
ANOTHER = "It is another image by now: the one that was selected is gone."
STOPPED = "It was stopped before its turn."
NOT_ALLOWED = "Whoever asked for it may not do so any more."
BROKEN = "Something broke on Slipway's side; its log has the traceback."
REFUSALS: dict[type[Exception], str] = {
    Image.DoesNotExist: GONE,
    catalog.NothingUnderWay: "There is no build to cancel: the last one has ended.",
    catalog.Protected: "It is protected: take the protection off first.",
    catalog.OperatorsOnly: NOT_ALLOWED,
    UnderWay: "A build is under way: cancel it, or wait for its end.",
    ContextGone: "What it was built from is no longer stored: its owner has to send it again.",
}


@transaction.atomic
def draft(verb: Verb, images: ImageQuerySet, *, by: User) -> BulkAction:
    """Writes down which images are meant, for somebody to confirm. Raises TooMany."""
    now = timezone.now()
    BulkAction.objects.filter(confirmed_at=None, created_at__lt=now - DRAFTS_KEPT).delete()
    BulkAction.objects.filter(ended_at__lt=now - KEPT).delete()
    meant = images.select_related(None).select_related("owner")
    meant = meant.only("name", "tag", "created_at", "owner__username")
    # One more than may be, in one query, so that nothing moves between counting and taking.
    found = list(meant[: MOST + 1])
    if len(found) > MOST:
        raise TooMany
    action = BulkAction.objects.create(verb=verb.name, by=by)
    items = (
        BulkItem(
            action=action, image_id=image.pk, label=str(image), image_created_at=image.created_at
        )
        for image in found
    )
    while some := list(islice(items, BATCH)):
        BulkItem.objects.bulk_create(some)
    return action


def confirm(action: BulkAction) -> bool:
    """From now on it is done. False where it was confirmed before."""
    unconfirmed = BulkAction.objects.filter(pk=action.pk, confirmed_at=None)
    return bool(unconfirmed.update(confirmed_at=timezone.now()))


def stop(action: BulkAction) -> None:
    """What has not been done is not done."""
    waiting = BulkItem.objects.filter(action=action, state=BulkItem.WAITING)
    waiting.update(state=BulkItem.REFUSED, note=STOPPED)
    BulkAction.objects.filter(pk=action.pk, ended_at=None).update(ended_at=timezone.now())


def carry_on(action_id: UUID, *, seconds: float) -> None:
    """Does what is left of a confirmed action, for about so long."""
    until = monotonic() + seconds
    action = BulkAction.objects.select_related("by").filter(pk=action_id).first()
    if action is None or action.confirmed_at is None or action.ended_at is not None:
        return
    verb = VERBS[action.verb]
    waiting = BulkItem.objects.filter(action=action, state=BulkItem.WAITING).order_by("id")
    if not (action.by.is_active and action.by.is_staff and action.by.has_perm(verb.permission)):
        waiting.update(state=BulkItem.REFUSED, note=NOT_ALLOWED)
    while (item := waiting.first()) is not None:
        try:
            _do(item, verb, action.by)
        except (OperationalError, InterfaceError):
            logger.warning("the database is busy or away; %s goes on later", action, exc_info=True)
            return
        if monotonic() >= until:
            break
    if not waiting.exists():
        BulkAction.objects.filter(pk=action_id, ended_at=None).update(ended_at=timezone.now())


def open_actions() -> QuerySet[BulkAction]:
    """Confirmed, and not done yet; the oldest first."""
    unended = BulkAction.objects.filter(confirmed_at__isnull=False, ended_at=None)
    return unended.select_related("by").order_by("created_at")


def carry_on_all(*, seconds: float) -> None:
    """Some of what others left undone, for about so long. For the housekeeping."""
    until = monotonic() + seconds
    for action_id in open_actions().values_list("pk", flat=True):
        if monotonic() < until:
            carry_on(action_id, seconds=until - monotonic())


def counts(action: BulkAction) -> Counter[str]:
    """How many of its images are waiting, done and refused."""
    found = action.items.order_by().values_list("state").annotate(Count("pk"))
    return Counter(dict(found))


def _do(item: BulkItem, verb: Verb, by: User) -> None:
    """One image, its audit entry and its mark: all or nothing, and only once."""
    with transaction.atomic():
        held = BulkItem.objects.filter(pk=item.pk, state=BulkItem.WAITING)
        if not held.update(state=BulkItem.DONE):
            return  # somebody else has done it meanwhile
        try:
            with transaction.atomic():
                said = verb.act(_meant(item), by)
                _note(item, verb, by, said)
        except Refused as refusal:
            note = str(refusal)
        except tuple(REFUSALS) as refusal:
            note = next(text for kind, text in REFUSALS.items() if isinstance(refusal, kind))
        except catalog.QuotaExceeded as refusal:
            note = str(refusal)
        except (OperationalError, InterfaceError):
            raise  # all of it is undone, and tried again by whoever comes next
        except Exception:
            logger.exception("%s of image %s broke", verb.name, item.image_id)
            note = BROKEN
        else:
            return
        BulkItem.objects.filter(pk=item.pk).update(state=BulkItem.REFUSED, note=note)


def _meant(item: BulkItem) -> Image:
    """The image itself, held, so that it stays what it is. Raises Refused."""
    held = Image.objects.select_for_update().filter(pk=item.image_id)
    created_at = held.values_list("created_at", flat=True).first()
    if created_at is None:
        raise Refused(GONE)
    if created_at != item.image_created_at:
        raise Refused(ANOTHER)
    return Image.objects.with_build().get(pk=item.image_id)


def _note(item: BulkItem, verb: Verb, by: User, said: str) -> None:
    LogEntry.objects.create(
        user_id=by.pk,
        content_type=ContentType.objects.get_for_model(Image),
        object_id=str(item.image_id),
        object_repr=item.label[:200],
        action_flag=verb.flag,
        change_message=said,
    )
