"""The database's clock. It alone decides when a lease has run out, whichever process asks."""

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
    """So many seconds after the moment in which the database runs the statement."""
    return Now() + timedelta(seconds=seconds)


class ClockWrong(Exception):
    """This process's clock and the database's differ by more than a quarter of a lease."""


def check_clock() -> None:
    """Raises ClockWrong."""
    offset = clock_offset()
    if abs(offset) > build_settings().lease_seconds / 4:
        way = "ahead of" if offset > 0 else "behind"
        raise ClockWrong(f"the clock of this machine is {abs(offset):.1f} s {way} the database's")


def clock_offset() -> float:
    """Seconds that this process's clock is ahead of the database's; below zero when behind.

    0 where the difference is smaller than the time that asking took.
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
