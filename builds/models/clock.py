"""The database's clock. Leases are compared with it alone, whichever process asks."""

from datetime import datetime, timedelta

from django.db import connection
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from builds.conf import build_settings

__all__ = ["ClockWrong", "Now", "check_clock", "clock_offset", "from_now"]

_QUERIES = {
    "sqlite": "SELECT STRFTIME('%Y-%m-%dT%H:%M:%fZ', 'NOW')",
    "postgresql": "SELECT STATEMENT_TIMESTAMP()",
}


def from_now(seconds: float) -> Combinable:
    """The database's time at the execution of the statement, plus `seconds`."""
    return Now() + timedelta(seconds=seconds)


class ClockWrong(Exception):
    """This process's clock and the database's differ by more than a quarter of a lease."""


def check_clock() -> None:
    """Raises ClockWrong if this process's clock and the database's differ by more than a quarter
    of a lease."""
    offset = clock_offset()
    if abs(offset) > build_settings().lease_seconds / 4:
        way = "ahead of" if offset > 0 else "behind"
        raise ClockWrong(f"the clock of this machine is {abs(offset):.1f} s {way} the database's")


def clock_offset() -> float:
    """Seconds by which this process's clock is ahead of the database's; negative if behind.

    0 if the difference is smaller than the duration of the query.
    """
    before = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_QUERIES[connection.vendor])
        (found,) = cursor.fetchone()
    after = timezone.now()
    told = found if isinstance(found, datetime) else parse_datetime(found)
    if told is None:
        raise ValueError(f"the database told the time as {found!r}")
    nearest = min(max(told, before), after)
    return (nearest - told).total_seconds()
