"""Transient outages: a database or a storage that does not answer for a moment."""

from django.db import InterfaceError, OperationalError

from common.error_codes import DATABASE_AWAY, STORAGE_AWAY, ErrorCode


class StorageAway(OSError):
    """The storage of files does not answer, or refuses the credentials."""


DATABASE_OUTAGES = (OperationalError, InterfaceError)
"""Exceptions of a database that does not answer."""
AWAY: dict[type[Exception], ErrorCode] = {
    **dict.fromkeys(DATABASE_OUTAGES, DATABASE_AWAY),
    StorageAway: STORAGE_AWAY,
}
OUTAGES = tuple(AWAY)
"""Exceptions after which callers may retry."""
HEADERS = {"Retry-After": "2"}
"""Of the 503 that says so."""


def away(problem: BaseException | None) -> ErrorCode | None:
    """What does not answer; None where the problem is another."""
    return next((found for kind, found in AWAY.items() if isinstance(problem, kind)), None)
