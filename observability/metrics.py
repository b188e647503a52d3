"""/metrics for Prometheus: this process's counters, and gauges read from the database."""

from collections.abc import Callable, Iterable, Iterator
from hmac import compare_digest
from ipaddress import ip_address
from time import perf_counter
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from builds import statistics
from builds.models import Build, Pause, Worker
from builds.models.clock import clock_offset
from builds.status import Status
from common.error_codes import UNAUTHORIZED, error_body

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
QUERIES = Histogram(
    "slipway_database_query_duration_seconds",
    "Queries of this process.",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
)


class Standing(Collector):
    """Gauges of state that all processes share, queried from the database at each scrape."""

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registration at import does not query the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("slipway_database_up", "Whether the database answers.")
        try:
            found = [*_builds(), *_workers(), *_pool()]
        except DatabaseError:
            found = []
        up.add_metric([], 1 if found else 0)
        yield up
        yield from found


def _builds() -> Iterator[Metric]:
    counts = statistics.unended()
    builds = GaugeMetricFamily("slipway_builds", "Builds that have not ended.", labels=["status"])
    for status, count in counts.items():
        builds.add_metric([status.value], count)
    yield builds
    yield GaugeMetricFamily(
        "slipway_queue_oldest_wait_seconds",
        "Since the build that waits longest was ordered.",
        value=statistics.oldest_wait() if counts[Status.QUEUED] else 0,
    )
    yield GaugeMetricFamily(
        "slipway_clock_offset_seconds",
        "How far this process's clock is ahead of the database's.",
        value=clock_offset(),
    )
    paused = Pause.objects.exists()
    yield GaugeMetricFamily("slipway_queue_paused", "Whether the queue is paused.", value=paused)


def _workers() -> Iterator[Metric]:
    labels = ["worker", "host"]
    threads = GaugeMetricFamily("slipway_worker_threads", "Builds it can run.", labels=labels)
    held = GaugeMetricFamily("slipway_worker_builds", "Builds that it runs.", labels=labels)
    silence = GaugeMetricFamily(
        "slipway_worker_silence_seconds", "Since it was last heard of.", labels=labels
    )
    draining = GaugeMetricFamily("slipway_worker_draining", "Whether it drains.", labels=labels)
    quarantined = GaugeMetricFamily(
        "slipway_worker_quarantined",
        "Whether it takes no builds because something is wrong with it.",
        labels=labels,
    )
    disk = GaugeMetricFamily(
        "slipway_disk_bytes", "Disk in use.", labels=["worker", "host", "part"]
    )
    budget = GaugeMetricFamily("slipway_disk_budget_bytes", "Disk it may use.", labels=labels)
    free = GaugeMetricFamily("slipway_disk_free_bytes", "Disk that is free.", labels=labels)
    running = list(Build.objects.running().values_list("worker", flat=True))
    for worker in Worker.objects.with_silence():
        values = [worker.name, worker.host]
        threads.add_metric(values, worker.threads)
        held.add_metric(values, running.count(worker.name))
        silence.add_metric(values, worker.silence.total_seconds())
        draining.add_metric(values, worker.draining)
        quarantined.add_metric(values, worker.quarantined)
        for part, size in worker.machine.get("parts", {}).items():
            disk.add_metric([*values, part], size)
        if worker.machine:
            budget.add_metric(values, worker.machine["budget"])
            free.add_metric(values, worker.machine["free"])
    yield from (threads, held, silence, draining, quarantined, disk, budget, free)


def _pool() -> Iterator[Metric]:
    pool = getattr(connection, "pool", None)
    if pool is None:
        return
    found = pool.get_stats()
    told = GaugeMetricFamily(
        "slipway_database_pool_connections", "Of this process.", labels=["state"]
    )
    told.add_metric(["open"], found.get("pool_size", 0))
    told.add_metric(["free"], found.get("pool_available", 0))
    yield told
    waiting = found.get("requests_waiting", 0)
    yield GaugeMetricFamily(
        "slipway_database_pool_waiting", "Threads that wait for a connection.", value=waiting
    )


def watch_queries() -> None:
    """Measure the queries of every database connection opened from now on."""
    connection_created.connect(_watch, dispatch_uid="metrics")


def _watch(*, connection: Any, **_: Any) -> None:
    if _timed not in connection.execute_wrappers:
        connection.execute_wrappers.append(_timed)


def _timed(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    began = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        QUERIES.observe(perf_counter() - began)


def view(request: HttpRequest) -> HttpResponse:
    """Metrics for callers with the bearer token. Without a configured token, for loopback only."""
    if not may_read(request.META):
        told = error_body(
            UNAUTHORIZED, "Metrics take the bearer token that SLIPWAY_METRICS_TOKEN names."
        )
        return JsonResponse(told, status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def may_read(asked: dict[str, Any]) -> bool:
    """Whether a request may read the metrics. `asked` is its WSGI environment."""
    if token := settings.METRICS_TOKEN:
        given = str(asked.get("HTTP_AUTHORIZATION", ""))
        return compare_digest(given.encode(), f"Bearer {token}".encode())
    # Behind a proxy on this machine, all requests come from loopback.
    if any(name in asked for name in FORWARDED):
        return False
    try:
        address = ip_address(str(asked.get("REMOTE_ADDR", "")))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


REGISTRY.register(Standing())
