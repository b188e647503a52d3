"""Exact totals of lists that are narrowed by name, tag, age or visibility.

To count all images with a part in their names takes long, however good the index. So a count is
remembered together with the snapshot of the database that it was made in, and brought up to date
with the journal of changes (`ImageChange`): those of transactions which that snapshot does not see.
The sum is what a count would find now. Public images are counted once for everybody, and one's own
private ones apart.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet, Sum
from django.db.models.functions import Coalesce

from images.models import Image, ImageChange

KEPT_SECONDS = 60.0
"""Rows of the journal stay for some minutes; a remembered count is never so old."""
MOST = 2_000
MANY = 5_000
"""Changes after which it is quicker to count again."""
UNCOUNTED = frozenset({"page", "limit", "ordering", "include_public", "cursor"})
"""What leaves no images out."""
COUNTED = frozenset({"name", "tag", "public", "created_after", "created_before"})
"""Filters by what the journal has."""

Narrow = Callable[["QuerySet[Any]"], "QuerySet[Any]"]


class _Count(NamedTuple):
    at: float
    snapshot: str
    total: int


class Totals:
    """Of one process."""

    def __init__(self) -> None:
        self._known: OrderedDict[Any, _Count] = OrderedDict()
        self._lock = Lock()

    def total(self, key: Any, narrow: Narrow) -> int:
        """How many images `narrow` leaves. It gets images or their changes; `key` says what."""
        known = self._known.get(key)
        if known is not None and monotonic() - known.at < KEPT_SECONDS:
            changes = narrow(ImageChange.objects.not_seen_by(known.snapshot))
            since = changes.order_by().aggregate(total=Coalesce(Sum("count"), 0))["total"]
            if abs(since) < MANY:
                return known.total + int(since)
        at = monotonic()
        total, snapshot = counted_with_snapshot(narrow(Image.objects.all()))
        # A transaction may see changes of its own, which others never will.
        if not connection.in_atomic_block:
            with self._lock:
                self._known[key] = _Count(at, snapshot, total)
                self._known.move_to_end(key)
                if len(self._known) > MOST:
                    self._known.popitem(last=False)
        return total

    def forget(self) -> None:
        with self._lock:
            self._known.clear()


TOTALS = Totals()


def counted_with_snapshot(images: "QuerySet[Any]") -> tuple[int, str]:
    """A count, and the snapshot of the one statement that made it."""
    sql, params = images.order_by().values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*), pg_current_snapshot()::text FROM ({sql}) found", params)  # noqa: S608
        found = cursor.fetchone()
    return int(found[0]), str(found[1])


def total_of(viewer_id: UUID, asked: Mapping[str, Any], narrow: Narrow, images: Any) -> int:
    """How many images there are on all pages of a list that is narrowed by what was asked for.

    `images` is the list itself, which is counted where the journal does not help.
    """
    filters = {
        name: value
        for name, value in asked.items()
        if value not in (None, "", ()) and name not in UNCOUNTED
    }
    if connection.vendor != "postgresql" or not filters.keys() <= COUNTED:
        return int(images.count())
    key = tuple(sorted(filters.items()))
    mine = TOTALS.total(
        (viewer_id, key), lambda rows: narrow(rows.filter(owner_id=viewer_id, public=False))
    )
    if asked["include_public"]:
        others = TOTALS.total(("public", key), lambda rows: narrow(rows.filter(public=True)))
    else:
        others = TOTALS.total(
            (viewer_id, "public", key),
            lambda rows: narrow(rows.filter(owner_id=viewer_id, public=True)),
        )
    return mine + others
