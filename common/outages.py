"""Transient outages: the database or the file storage does not respond for a moment."""

from django.db import InterfaceError, OperationalError

from common.error_codes import DATABASE_AWAY, STORAGE_AWAY, ErrorCode


class StorageAway(OSError):
    """The file storage does not respond, or rejects the request or the credentials."""


DATABASE_OUTAGES = (OperationalError, InterfaceError)
"""Exceptions raised while the database does not respond."""
AWAY: dict[type[Exception], ErrorCode] = {
    **dict.fromkeys(DATABASE_OUTAGES, DATABASE_AWAY),
    StorageAway: STORAGE_AWAY,
}
OUTAGES = tuple(AWAY)
"""Transient outages that callers may retry."""
HEADERS = {"Retry-After": "2"}
"""Headers of the 503 response to an outage; the delay is in seconds."""


def away(problem: BaseException | None) -> ErrorCode | None:
    """The error code of an outage, or None if `problem` is not one."""
    return next((found for kind, found in AWAY.items() if isinstance(problem, kind)), None)
