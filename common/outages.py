"""What passes by itself: a database or a storage that does not answer just now."""

from django.db import InterfaceError, OperationalError


class StorageAway(OSError):
    """The storage of files does not answer, or lets nobody in."""


DATABASE = "The database does not answer just now; try again in a moment."
AWAY: dict[type[Exception], str] = {
    OperationalError: DATABASE,
    InterfaceError: DATABASE,
    StorageAway: "The storage of files does not answer just now; try again in a moment.",
}
PASSING = tuple(AWAY)
"""What to wait for and try again after."""
HEADERS = {"Retry-After": "2"}
"""Of the 503 that says so."""


def away(problem: BaseException | None) -> str | None:
    """What is away, in a sentence; None where it is something else that went wrong."""
    return next((text for kind, text in AWAY.items() if isinstance(problem, kind)), None)
