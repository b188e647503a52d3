"""Deletes images that their owners want gone: by a label of the image, or by rules for names."""

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
"""Deleted in one turn; the next goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: images of that name go, but for the newest, once they are old."""

    name: str
    """Blank for names without a rule of their own."""
    keep_last: int | None
    expire_days: int | None


def rules_of(owner: User) -> list[RetentionRule]:
    return list(owner.retention_rules.order_by("name"))


def set_rules(owner: User, rules: Iterable[Rule]) -> None:
    """In place of all that there were."""
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
    """One turn of the housekeeping."""
    _delete(Image.objects.filter(expires_at__lt=Now()))
    for rule in RetentionRule.objects.select_related("owner").iterator():
        _delete(due(rule))


def due(rule: RetentionRule) -> ImageQuerySet:
    """The images that go by a rule. Only those that were built, and that nothing builds now."""
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
        # Somebody else deletes or protects it at this moment.
        with suppress(Image.DoesNotExist, catalog.Protected):
            catalog.delete(image)
