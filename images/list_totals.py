"""Exact totals of lists that are filtered by name, tag, age or visibility.

Counting all images whose name contains a text is slow with any index. So a count is cached together
with the database snapshot in which it was made. Later it is updated from the journal of changes
(`ImageChange`), with the changes of all transactions that the snapshot does not see. The sum is
exactly what a new count would find. Public images are counted once for all users, and private ones
for each user.
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
"""Journal rows are kept for some minutes; a cached count is never older than this."""
MOST = 2_000
MANY = 5_000
"""From this number of changes on, a new count is faster."""
UNCOUNTED = frozenset({"page", "limit", "ordering", "include_public", "cursor"})
"""Parameters that leave no images out."""
COUNTED = frozenset({"name", "tag", "public", "created_after", "created_before"})
"""Filters on columns that the journal has."""

Narrow = Callable[["QuerySet[Any]"], "QuerySet[Any]"]


class _Count(NamedTuple):
    at: float
    snapshot: str
    total: int


class Totals:
    """The cached counts of one process."""

    def __init__(self) -> None:
        self._known: OrderedDict[Any, _Count] = OrderedDict()
        self._lock = Lock()

    def total(self, key: Any, narrow: Narrow) -> int:
        """How many images match `narrow`, a function that filters images or their changes. `key`
        identifies it."""
        known = self._known.get(key)
        if known is not None and monotonic() - known.at < KEPT_SECONDS:
            changes = narrow(ImageChange.objects.not_seen_by(known.snapshot))
            since = changes.order_by().aggregate(total=Coalesce(Sum("count"), 0))["total"]
            if abs(since) < MANY:
                return known.total + int(since)
        at = monotonic()
        total, snapshot = counted_with_snapshot(narrow(Image.objects.all()))
        # A transaction may see its own uncommitted changes, which others may never see.
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
    """A count, and the snapshot of the statement that made it."""
    sql, params = images.order_by().values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*), pg_current_snapshot()::text FROM ({sql}) found", params)  # noqa: S608
        found = cursor.fetchone()
    return int(found[0]), str(found[1])


def total_of(viewer_id: UUID, asked: Mapping[str, Any], narrow: Narrow, images: Any) -> int:
    """The number of images on all pages of a filtered list.

    `images` is the list itself. It is counted if the journal cannot be used.
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
