"""Deletes images that have expired, by a label of the image or by their owner's rules for names."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from database.substring_lookups import LowerIs
from images import catalog
from images.models import Image, ImageQuerySet, RetentionRule

MOST_RULES = 100
BATCH = 500
"""Images that one round deletes; the next round continues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Images of one name are deleted when they are old, except the newest."""

    name: str
    """Blank means all names without a rule of their own."""
    keep_last: int | None
    expire_days: int | None


def rules_of(owner: User) -> list[RetentionRule]:
    return list(owner.retention_rules.order_by("name"))


def set_rules(owner: User, rules: Iterable[Rule]) -> None:
    """Replaces all rules of the owner."""
    made = [
        RetentionRule(
            owner=owner,
            name=rule.name.lower(),
            keep_last=rule.keep_last,
            expire_days=rule.expire_days,
        )
        for rule in rules
    ]
    with transaction.atomic():
        User.objects.select_for_update().get(pk=owner.pk)
        owner.retention_rules.all().delete()
        RetentionRule.objects.bulk_create(made)


def delete_due() -> None:
    """Deletes expired images, at most BATCH. The housekeeping calls it."""
    _delete(Image.objects.filter(expires_at__lt=Now()))
    for rule in RetentionRule.objects.select_related("owner").iterator():
        _delete(due(rule))


def due(rule: RetentionRule) -> ImageQuerySet:
    """The images that a rule deletes. They must be built, and no build may be running."""
    named = Image.objects.filter(owner=rule.owner).exclude(good=None)
    if rule.name:
        return _older(named.filter(LowerIs("name", rule.name)), rule)
    ruled = {each.name for each in rule.owner.retention_rules.all()}
    names = {name.lower() for name in named.values_list("name", flat=True).distinct()}
    keys: list[UUID] = []
    for name in sorted(names - ruled):
        keys += _older(named.filter(LowerIs("name", name)), rule).values_list("pk", flat=True)
    return Image.objects.filter(pk__in=keys)


def _older(named: ImageQuerySet, rule: RetentionRule) -> ImageQuerySet:
    found = named
    if rule.keep_last is not None:
        newest = list(named.newest_first().values_list("pk", flat=True)[: rule.keep_last])
        found = found.exclude(pk__in=newest)
    if rule.expire_days is not None:
        found = found.filter(created_at__lt=timezone.now() - timedelta(days=rule.expire_days))
    return found


def _delete(images: ImageQuerySet) -> None:
    wanted = images.filter(protected=False).exclude(state__in=("queued", "building"))
    for image in wanted.select_related("owner")[:BATCH]:
        # Somebody else deleted or protected it at this moment.
        with suppress(Image.DoesNotExist, catalog.Protected):
            catalog.delete(image)
