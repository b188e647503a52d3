"""A real Prometheus scrapes a real Slipway, and every query of the dashboard finds something."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import script, zipped
from tests.instance import ROOT, Instance, free_port, send, watch

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

DASHBOARD = ROOT / "deploy" / "grafana" / "slipway.json"
SCRAPES = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: slipway
    authorization: {credentials: a-token}
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""
# Nothing of this kind happened, so there is nothing to add up.
SILENT = {'sum by (route) (rate(slipway_http_requests_total{status=~"5.."}[5m]))'}


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[httpx.Client]:
    config = folder / "prometheus.yml"
    config.write_text(SCRAPES.replace("PORT", str(port)))
    own = free_port()
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'series'}"]
    command += [f"--web.listen-address=127.0.0.1:{own}"]
    with (folder / "prometheus.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{own}", trust_env=False) as client:
            yield client
    finally:
        running.terminate()
        running.wait(20)


def eventually(found: Callable[[], Any], seconds: float = 30) -> Any:
    until = time.monotonic() + seconds
    while True:
        try:
            if result := found():
                return result
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.2)


def ask(client: httpx.Client, query: str) -> list[Any]:
    answer = client.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", (query, answer)
    found: list[Any] = answer["data"]["result"]
    return found


def test_every_query_of_the_dashboard_finds_something(tmp_path: Path) -> None:
    with (
        Instance(tmp_path / "data", engine="scripted", SLIPWAY_METRICS_TOKEN="a-token") as instance,
        instance.client() as client,
        prometheus(tmp_path, instance.port) as server,
    ):
        eventually(lambda: ask(server, "slipway_builds"))
        for number in range(3):
            end = "exit 1" if number == 2 else "echo done"
            send(client, script("echo hello", end), zipped(a_txt="a"), name="app", tag=str(number))
            watch(client, f"app:{number}")
        panels = json.loads(DASHBOARD.read_text())["panels"]
        queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
        assert set(queries) > SILENT
        # Disks are measured once in a minute at first.
        for query in queries:
            eventually(lambda query=query: ask(server, query) or query in SILENT, 75)
        ended = {
            each["metric"]["status"]: float(each["value"][1])
            for each in ask(server, "sum by (status) (slipway_builds_ended_total)")
        }
        assert ended == {"succeeded": 2, "failed": 1}
        [up] = ask(server, "up")
        assert up["value"][1] == "1"


def test_each_alert_is_quiet_while_all_is_well_and_speaks_when_it_is_not(tmp_path: Path) -> None:
    rules = ROOT / "deploy" / "prometheus" / "slipway.rules.yml"
    tried = tmp_path / "alerts.yml"
    tried.write_text(
        (ROOT / "tests" / "config" / "alerts.yml").read_text().replace("RULES", str(rules))
    )
    done = subprocess.run(
        ["promtool", "test", "rules", tried], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    named = set(re.findall(r"alert: (\w+)", rules.read_text()))
    assert named == set(re.findall(r"alertname: (\w+)", tried.read_text()))
