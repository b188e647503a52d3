"""How many builds an owner may start in 24 hours, and how many were."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, Sum
from django.utils import timezone

from accounts.models import User
from builds.conf import build_settings
from builds.models import Build
from common import error_codes
from common.error_codes import CodedError

QUOTA_WINDOW = timedelta(hours=24)
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Of one owner, now."""

    limit: int | None
    """Builds within QUOTA_WINDOW; None where there is no limit, which is so for operators."""
    used: int
    reset_seconds: int
    """Until the oldest of those counts no more; 0 where none counts."""

    @property
    def remaining(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def headers(self) -> dict[str, str]:
        """`RateLimit-*`; none where there is no limit."""
        if self.limit is None:
            return {}
        return rate_limit(self.limit, self.limit - self.used, self.reset_seconds)


class StorageExceeded(CodedError):
    """The owner's images take all the room that they may take; both are in bytes."""

    kind = error_codes.STORAGE_EXCEEDED

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(used=used // MIB, limit=limit // MIB)


class QuotaExceeded(CodedError):
    """Too many builds in 24 hours; `retry_after` is in seconds."""

    kind = error_codes.QUOTA_EXCEEDED

    def __init__(self, limit: int, retry_after: int) -> None:
        headers = {"Retry-After": str(retry_after), **rate_limit(limit, 0, retry_after)}
        super().__init__(limit=limit, headers=headers)
        self.retry_after = retry_after


def rate_limit(limit: int, remaining: int, reset_seconds: int) -> dict[str, str]:
    """The headers that tell of a limit, how much of it is left, and when there is more."""
    return {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(max(0, remaining)),
        "RateLimit-Reset": str(reset_seconds),
    }


def daily_limit(owner: User) -> int | None:
    """Builds within QUOTA_WINDOW. None where there is no limit, which is so for operators."""
    if owner.is_staff:
        return None
    own = owner.daily_build_limit
    return build_settings().daily_builds if own is None else own


def builds_charged(owner: User) -> int:
    """Builds within QUOTA_WINDOW that count against the limit. Deleting refunds nothing."""
    return Build.objects.charged_since(owner.pk, timezone.now() - QUOTA_WINDOW).count()


def quota_of(owner: User) -> Quota:
    since = timezone.now() - QUOTA_WINDOW
    charged = Build.objects.charged_since(owner.pk, since)
    found = charged.aggregate(used=Count("pk"), oldest=Min("queued_at"))
    oldest = found["oldest"]
    reset = max(1, round((oldest - since).total_seconds())) if oldest else 0
    return Quota(limit=daily_limit(owner), used=found["used"], reset_seconds=reset)


def storage_limit(owner: User) -> int | None:
    """Bytes that somebody's images may take in the registry. None where there is no limit."""
    own = owner.storage_limit_mb
    limit = build_settings().storage_mb if own is None else own
    return None if own is None and (limit == 0 or owner.is_staff) else limit * MIB


def storage_used(owner: User) -> int:
    """What the last good builds of somebody's images take, compressed."""
    found: int | None = owner.images.aggregate(total=Sum("good_bytes"))["total"]
    return found or 0


def check_quota(owner: User) -> None:
    """Raises QuotaExceeded or StorageExceeded. Of the daily limit deleting refunds nothing."""
    check_storage(owner)
    if daily_limit(owner) is not None:
        since = timezone.now() - QUOTA_WINDOW
        check_charged(owner, Build.objects.charged_since(owner.pk, since).count(), since)


def check_storage(owner: User) -> None:
    """Raises StorageExceeded."""
    room = storage_limit(owner)
    if room is not None and (used := storage_used(owner)) >= room:
        raise StorageExceeded(used, room)


def check_charged(owner: User, charged: int, since: datetime) -> None:
    """Raises QuotaExceeded where so many builds since then leave no room for one more."""
    limit = daily_limit(owner)
    if limit is None or charged < limit:
        return
    if not limit:
        raise QuotaExceeded(limit, round(QUOTA_WINDOW.total_seconds()))
    newest = Build.objects.charged_since(owner.pk, since).order_by("-queued_at")
    # The last that the limit allows: there is room again when it is too old to count.
    for last in newest.values_list("queued_at", flat=True)[limit - 1 : limit]:
        raise QuotaExceeded(limit, max(1, round((last - since).total_seconds())))
