"""Each metric moves, and only those may read them who should."""

import asyncio
import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from builds import runner
from builds.lifecycle import request_drain, request_pause
from builds.logs.cursor import Cursor
from builds.models import Build, Worker
from builds.worker import WORKER
from images.live.sse import events
from observability import health, metrics, worker_probes
from tests.conftest import Order
from tests.instance import free_port

pytestmark = pytest.mark.django_db(transaction=True)
DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "slipway.json"


def value(name: str, **labels: str) -> float:
    """The sum of all samples of that name that have those labels; 0 where there is none."""
    families = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def grows(name: str, act: Callable[[], object], **labels: str) -> float:
    before = value(name, **labels)
    act()
    return value(name, **labels) - before


def test_a_build_that_ends_is_counted_with_its_duration_wait_and_lines(order: Order) -> None:
    build = order("echo hello")
    names = {
        "slipway_builds_ended_total": {"status": "succeeded"},
        "slipway_build_duration_seconds_count": {"status": "succeeded"},
        "slipway_build_wait_seconds_count": {},
        "slipway_log_bytes_total": {},
        "slipway_log_lines_total": {},
    }
    before = {name: value(name, **labels) for name, labels in names.items()}
    runner.run(build.pk)
    build.refresh_from_db()
    grown = {name: value(name, **labels) - before[name] for name, labels in names.items()}
    assert [*grown.values()][:3] == [1, 1, 1]
    assert grown["slipway_log_lines_total"] == build.log_lines
    assert grown["slipway_log_bytes_total"] > 0


def test_a_failure_is_counted_by_whose_fault_it_was(order: Order) -> None:
    build = order("exit 1")
    labels = {"status": "failed", "fault": "user"}
    assert grows("slipway_builds_ended_total", lambda: runner.run(build.pk), **labels) == 1


def test_what_waits_and_runs_is_told_from_the_database(order: Order) -> None:
    first, _, _ = (order(f"echo {n}") for n in range(3))
    Build.objects.update(queued_at=timezone.now() - timedelta(seconds=90))
    assert value("slipway_builds", status="queued") == 3
    assert value("slipway_queue_oldest_wait_seconds") == pytest.approx(90, abs=10)
    with WORKER.claim(first.pk):
        assert value("slipway_builds", status="queued") == 2
        assert value("slipway_builds", status="building") == 1
    assert value("slipway_queue_paused") == 0
    request_pause(by="operator")
    assert value("slipway_queue_paused") == 1


def test_workers_are_told_with_what_they_do_and_their_disks(order: Order) -> None:
    build = order("echo hello")
    WORKER.sign_on()
    machine = {"parts": {"files": 5}, "budget": 50, "free": 45}
    seen = timezone.now() - timedelta(seconds=7)
    with WORKER.claim(build.pk):
        request_drain(WORKER.name)
        Worker.objects.update(machine=machine, seen_at=seen)
        assert value("slipway_worker_threads", worker=WORKER.name) == 2
        assert value("slipway_worker_builds", worker=WORKER.name) == 1
    assert value("slipway_worker_draining") == 1
    assert value("slipway_worker_silence_seconds") == pytest.approx(7, abs=5)
    assert value("slipway_disk_bytes", part="files") == 5
    assert value("slipway_disk_budget_bytes") == 50
    assert value("slipway_disk_free_bytes") == 45


def test_requests_are_counted_by_route_method_and_status() -> None:
    labels = {"route": "healthz", "method": "GET"}
    get = Client().get
    name = "slipway_http_requests_total"
    assert grows(name, lambda: get("/healthz"), status="200", **labels) == 1
    assert grows(name, lambda: get(f"/{uuid4()}/x"), route="none", status="404") == 1
    name = "slipway_http_request_duration_seconds_count"
    assert grows(name, lambda: get("/healthz"), **labels) == 1


def test_queries_are_counted() -> None:
    name = "slipway_database_query_duration_seconds_count"
    assert grows(name, Build.objects.exists) >= 1
    assert value("slipway_database_up") == 1


def test_the_pool_is_told_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def get_stats(self) -> dict[str, int]:
            return {"pool_size": 4, "pool_available": 3, "requests_waiting": 2}

    monkeypatch.setattr(metrics, "connection", SimpleNamespace(pool=Pool()))
    assert value("slipway_database_pool_connections", state="open") == 4
    assert value("slipway_database_pool_connections", state="free") == 3
    assert value("slipway_database_pool_waiting") == 2


def test_a_database_that_is_away_is_told_and_takes_nothing_else_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away() -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr("builds.statistics.unended", away)
    assert value("slipway_database_up") == 0
    assert value("process_cpu_seconds_total") > 0


async def test_a_viewer_is_counted_while_it_watches(order: Order) -> None:
    build = await sync_to_async(order)("echo hello")
    measure = sync_to_async(value)
    stream = events(build.image_id, Cursor(1, 0))
    await anext(stream)
    task = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)  # until it reads the log
    assert await measure("slipway_viewers", transport="events") == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await measure("slipway_viewers", transport="events") == 0


def test_without_a_token_only_this_machine_may_read() -> None:
    assert Client().get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="::ffff:127.0.0.1").get("/metrics").status_code == 200
    for client in (
        Client(REMOTE_ADDR="192.0.2.1"),
        Client(REMOTE_ADDR=""),
        Client(HTTP_X_FORWARDED_FOR="192.0.2.1"),
    ):
        answer = client.get("/metrics")
        assert answer.status_code == 401
        assert "SLIPWAY_METRICS_TOKEN" in answer.json()["detail"]


def test_with_a_token_whoever_bears_it_may_read(settings: Any) -> None:
    settings.METRICS_TOKEN = "s3cret"
    assert Client().get("/metrics").status_code == 401
    for given, status in (("Bearer s3cret", 200), ("Bearer other", 401), ("Bearer \xe9", 401)):
        client = Client(REMOTE_ADDR="192.0.2.1", HTTP_AUTHORIZATION=given)
        assert client.get("/metrics").status_code == status


def test_a_worker_gives_its_metrics_at_a_port_of_its_own(settings: Any) -> None:
    settings.METRICS_PORT = free_port()
    worker_probes.serve()
    url = f"http://127.0.0.1:{settings.METRICS_PORT}/metrics"
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200
    assert "slipway_log_lines_total" in answer.text
    settings.METRICS_TOKEN = "s3cret"
    assert httpx.get(url, trust_env=False).status_code == 401


def test_a_worker_answers_probes_beside_its_metrics(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.METRICS_PORT = free_port()
    checks: dict[str, Callable[[], None]] = {"database": lambda: None, "registry": _fail}
    monkeypatch.setattr(health, "CHECKS", checks)
    worker_probes.serve()
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.METRICS_PORT}", trust_env=False) as ask:
        assert ask.get("/healthz").json() == {"status": "ok"}
        sick = ask.get("/readyz")
        assert (sick.status_code, sick.json()["ready"]) == (503, False)
        assert sick.json()["parts"] == {"database": "ok", "registry": "RuntimeError: planted"}
        assert ask.get("/readyz?exclude=registry").status_code == 200
        monkeypatch.setattr(health.PROCESS, "parts", ("database", "disk", "quarantine"))
        assert ask.get("/readyz").json()["parts"].keys() == {"database", "disk", "quarantine"}
        WORKER.quarantine.begin("disk: full")
        try:
            assert ask.get("/readyz").json()["parts"]["quarantine"] == "RuntimeError: disk: full"
        finally:
            WORKER.quarantine.end()
        assert ask.get("/elsewhere").status_code == 404


def _fail() -> None:
    raise RuntimeError("planted")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_answer_by_any_host_name_and_without_a_redirect(path: str, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    client = Client(HTTP_HOST="10.1.2.3:8000")
    assert client.get(path).status_code in {200, 503}
    assert client.get("/images/").status_code in {301, 400}
    settings.SECURE_SSL_REDIRECT = False
    assert client.get("/images/").status_code == 400


def test_a_web_process_is_asked_only_for_what_it_needs_and_not_ready_when_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "CHECKS", {name: lambda: None for name in health.CHECKS})
    monkeypatch.setattr(health.PROCESS, "parts", health.WEB)
    monkeypatch.setattr(health.PROCESS, "leaving", threading.Event())
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["parts"].keys() == {"database", "clock", "queue", "storage"}
    health.PROCESS.leaving.set()
    assert Client().get("/readyz").status_code == 503
    assert Client().get("/healthz").status_code == 200


def test_the_dashboard_names_only_metrics_that_exist(order: Order) -> None:
    WORKER.sign_on()
    Worker.objects.update(machine={"parts": {"files": 1}, "budget": 1, "free": 1})
    runner.run(order("echo hello").pk)
    Client().get("/healthz")
    families = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    known = {sample.name for family in families for sample in family.samples}
    found = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            named = set(re.findall(r"\b(?:slipway|process|python)_\w+", target["expr"]))
            assert named, target["expr"]
            found |= named
    assert found - known == set()
    assert len(found) > 15
