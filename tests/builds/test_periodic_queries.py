"""What is asked again and again finds its rows by an index, however many others there are."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from builds import reaper
from builds.logs import archive
from builds.models import Build
from builds.status import FINAL
from builds.worker import WORKER
from config import worker
from images import logos
from images.live import status_feed
from operators import bulk
from tests.conftest import Order
from webhooks import sending

pytestmark = pytest.mark.django_db

LARGE = frozenset({"builds_build", "builds_logchunk", "images_image", "webhooks_delivery"})
SMALL = frozenset(
    f"builds_build_{name}"
    for name in ("queue", "retries", "leases", "purge", "unarchived", "chunks_due", "superseded")
)
"""Indexes that only have what is still to be done: to read all of one costs nothing."""
OTHERS = 1_000
PERIODIC: dict[str, Callable[[], object]] = {
    "leases": worker.beat,
    "rescue": worker.rescue,
    "archive": lambda: archive.archive_ended(worker=WORKER.name),
    "chunks": archive.drop_due_chunks,
    "purge": reaper.purge,
    "contexts": reaper.drop_superseded_contexts,
    "feed": lambda: status_feed.look(set()),
    "draining": WORKER.draining,
    "quarantine": lambda: (WORKER.begin_quarantine("a test"), WORKER.end_quarantine()),
    "operators": lambda: bulk.carry_on_all(seconds=1),
    "webhooks": sending.claim,
    "old deliveries": sending.drop_old,
    "logos": logos.drop_unused,
}


@contextmanager
def scans() -> Iterator[list[str]]:
    """Every read of all of a large table, or of all of an index of one, by what runs inside."""
    postgresql = connection.vendor == "postgresql"
    found: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if re.match(r"\s*(SELECT|UPDATE|DELETE|WITH)\b", sql):
            with connection.cursor() as cursor:
                how = "EXPLAIN (FORMAT JSON)" if postgresql else "EXPLAIN QUERY PLAN"
                cursor.cursor.execute(f"{how} {sql}", params)
                told = cursor.fetchall()
            if postgresql:
                found.extend(_scans_of_postgresql(told[0][0][0]["Plan"]))
            else:
                found.extend(row[3] for row in told if _is_scan_of_sqlite(row[3]))
        return execute(sql, params, many, context)

    with connection.cursor() as cursor, connection.execute_wrapper(explain):
        # Tables are too small for an index to pay, so that reading all of one is not offered,
        # alone or for a join.
        switches = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin") if postgresql else ()
        for each in switches:
            cursor.cursor.execute(f"SET {each} = off")
        yield found
        for each in switches:
            cursor.cursor.execute(f"RESET {each}")


def _scans_of_postgresql(plan: Any) -> Iterator[str]:
    kind, index = plan["Node Type"], plan.get("Index Name", "")
    large = plan.get("Relation Name") in LARGE or index.startswith(tuple(LARGE))
    reads = kind.endswith(("Seq Scan", "Index Scan", "Index Only Scan"))
    if large and reads and not plan.get("Index Cond") and index not in SMALL:
        yield f"{kind} of {plan.get('Relation Name')} by {index}"
    for each in plan.get("Plans", []):
        yield from _scans_of_postgresql(each)


def _is_scan_of_sqlite(line: str) -> bool:
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", line)
    return found is not None and found[1] in LARGE and found[2] not in SMALL


@pytest.mark.parametrize("what", PERIODIC)
def test_no_periodic_query_reads_a_whole_table(what: str, order: Order) -> None:
    old = order("exit 1")
    Build.objects.filter(pk=old.pk).update(status="failed", log_lines=1)
    order("echo hello", image_id=old.image_id)
    others = [old.again(restarts=0, free=False) for _ in range(OTHERS)]
    for other in others:
        other.image_id, other.status, other.context_key = uuid4(), "succeeded", ""
    Build.objects.bulk_create(others)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE builds_build")
    with CaptureQueriesContext(connection) as asked, scans() as found:
        PERIODIC[what]()
    assert len(asked) > 0
    assert not found


@pytest.mark.parametrize(
    "asked",
    [
        lambda: Build.objects.filter(dockerfile=uuid4().hex),
        lambda: Build.objects.exclude(context_key="").filter(status__in=FINAL),
    ],
)
def test_a_scan_would_be_seen(asked: Callable[[], Any]) -> None:
    with scans() as found:
        list(asked())
    assert found
