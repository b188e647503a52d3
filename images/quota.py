"""The limit of builds that an owner may start in 24 hours, and of the room that images take."""

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
    """The quota of one owner at this moment."""

    limit: int | None
    """Builds within QUOTA_WINDOW. None means no limit, as for operators."""
    used: int
    reset_seconds: int
    """Seconds until the oldest build no longer counts; 0 if none counts."""

    @property
    def remaining(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def headers(self) -> dict[str, str]:
        """The headers `RateLimit-*`; empty if there is no limit."""
        if self.limit is None:
            return {}
        return rate_limit(self.limit, self.limit - self.used, self.reset_seconds)


class StorageExceeded(CodedError):
    """The owner's images take all the room that they may take. Both values are in bytes."""

    kind = error_codes.STORAGE_EXCEEDED

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(used=used // MIB, limit=limit // MIB)


class QuotaExceeded(CodedError):
    """Too many builds in 24 hours. `retry_after` is in seconds."""

    kind = error_codes.QUOTA_EXCEEDED

    def __init__(self, limit: int, retry_after: int) -> None:
        headers = {"Retry-After": str(retry_after), **rate_limit(limit, 0, retry_after)}
        super().__init__(limit=limit, headers=headers)
        self.retry_after = retry_after


def rate_limit(limit: int, remaining: int, reset_seconds: int) -> dict[str, str]:
    """The headers with a limit, the rest of it, and the time until there is more."""
    return {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(max(0, remaining)),
        "RateLimit-Reset": str(reset_seconds),
    }


def daily_limit(owner: User) -> int | None:
    """Builds within QUOTA_WINDOW. None means no limit, as for operators."""
    if owner.is_staff:
        return None
    own = owner.daily_build_limit
    return build_settings().daily_builds if own is None else own


def builds_charged(owner: User) -> int:
    """Builds within QUOTA_WINDOW that count against the limit. Deleting an image does not change
    it."""
    return Build.objects.charged_since(owner.pk, timezone.now() - QUOTA_WINDOW).count()


def quota_of(owner: User) -> Quota:
    since = timezone.now() - QUOTA_WINDOW
    charged = Build.objects.charged_since(owner.pk, since)
    found = charged.aggregate(used=Count("pk"), oldest=Min("queued_at"))
    oldest = found["oldest"]
    reset = max(1, round((oldest - since).total_seconds())) if oldest else 0
    return Quota(limit=daily_limit(owner), used=found["used"], reset_seconds=reset)


def storage_limit(owner: User) -> int | None:
    """Bytes that the user's images may take in the registry. None means no limit."""
    own = owner.storage_limit_mb
    limit = build_settings().storage_mb if own is None else own
    return None if own is None and (limit == 0 or owner.is_staff) else limit * MIB


def storage_used(owner: User) -> int:
    """Compressed bytes of the last good builds of the user's images."""
    found: int | None = owner.images.aggregate(total=Sum("good_bytes"))["total"]
    return found or 0


def check_quota(owner: User) -> None:
    """Raises QuotaExceeded or StorageExceeded. Deleting images does not help against the first."""
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
    """Raises QuotaExceeded if the charged builds since then leave no room for one more."""
    limit = daily_limit(owner)
    if limit is None or charged < limit:
        return
    if not limit:
        raise QuotaExceeded(limit, round(QUOTA_WINDOW.total_seconds()))
    newest = Build.objects.charged_since(owner.pk, since).order_by("-queued_at")
    # The newest build that must expire before another may start.
    for last in newest.values_list("queued_at", flat=True)[limit - 1 : limit]:
        raise QuotaExceeded(limit, max(1, round((last - since).total_seconds())))
