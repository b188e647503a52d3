"""Transient outages of the database and the storage, which callers may retry."""

from django.db import InterfaceError, OperationalError


class StorageAway(OSError):
    """The storage of files does not answer, or lets nobody in."""


DATABASE_OUTAGES = (OperationalError, InterfaceError)
"""What Django raises while the database does not answer."""
DATABASE = "The database does not answer just now; try again in a moment."
AWAY: dict[type[Exception], str] = {
    **dict.fromkeys(DATABASE_OUTAGES, DATABASE),
    StorageAway: "The storage of files does not answer just now; try again in a moment.",
}
OUTAGES = tuple(AWAY)
HEADERS = {"Retry-After": "2"}
"""Of the 503 that says so."""


def away(problem: BaseException | None) -> str | None:
    """What is away, in a sentence; None where it is something else that went wrong."""
    return next((text for kind, text in AWAY.items() if isinstance(problem, kind)), None)
