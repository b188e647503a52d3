"""Sentry and OpenTelemetry: told where configured, named where they are missing, else untouched."""

import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from observability import telemetry
from tests.conftest import script, zipped
from tests.instance import ROOT, Instance, send


class Collector:
    """What takes errors and traces, as servers of Sentry and OpenTelemetry do."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            return
        assert path == "/api/7/envelope/", path
        items = [json.loads(line) for line in body.splitlines()[1:] if line]
        for header, payload in zip(items[::2], items[1::2], strict=False):
            if header["type"] == "event":
                self.events.append(payload)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def eventually(found: list[Any], seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not found:
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.05)


def test_errors_and_requests_reach_who_collects_them(tmp_path: Path, collector: Collector) -> None:
    environment = {
        "SENTRY_DSN": f"http://key@127.0.0.1:{collector.port}/7",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with (
        Instance(tmp_path / "data", engine="scripted", **environment) as instance,
        instance.client() as client,
    ):
        dockerfile = script("echo hello", "broken the engine fell over")
        send(client, dockerfile, zipped(a_txt="a"), name="broken", tag="1")
        eventually(collector.events)
        eventually(collector.spans)
    event = collector.events[0]
    assert event["release"].startswith("slipway@")
    assert event["exception"]["values"][-1]["value"] == "the engine fell over"
    assert event["extra"]["build_id"] in event["logentry"]["formatted"]
    frames = [
        frame for each in event["exception"]["values"] for frame in each["stacktrace"]["frames"]
    ]
    assert frames
    assert not any("vars" in frame for frame in frames)
    names = {span.name for span in collector.spans}
    assert "POST images/" in names, names
    routes = {
        attribute.value.string_value
        for span in collector.spans
        for attribute in span.attributes
        if attribute.key == "http.route"
    }
    assert "images/" in routes
    # Who one is goes to neither.
    key = (instance.data_dir / "admin.key").read_text().strip()
    for told in (json.dumps(collector.events), str(collector.spans)):
        assert key not in told


def test_nothing_is_imported_that_is_not_configured() -> None:
    code = (
        "import django, sys; django.setup(); "
        "print({'sentry_sdk', 'opentelemetry.instrumentation'} & sys.modules.keys() or 'neither')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "neither"


def test_what_is_configured_and_not_installed_is_named_with_the_command(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SENTRY_DSN = "https://key@errors.example/1"
    settings.OTEL_ENDPOINT = "http://traces.example:4318"
    assert telemetry.check_reports() == []
    monkeypatch.setattr(telemetry, "find_spec", lambda _: None)
    found = telemetry.check_reports()
    assert [each.id for each in found] == ["config.E001", "config.E002"]
    sentry, traces = (_packages(str(each.hint)) for each in found)
    assert sentry == {"sentry-sdk"}
    # What the tests are run with is what the hint has people install.
    listed = (ROOT / "requirements" / "dev.in").read_text().split()
    assert traces == {each for each in listed if each.startswith("opentelemetry-")}
    telemetry.start()  # tells the log, and lets the process live


def _packages(hint: str) -> set[str]:
    return set(hint.partition("pip install ")[2].partition("`")[0].split())
