"""HTTP server of a worker process for probes and metrics, on a separate port."""

import json
from collections.abc import Callable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings
from django.db import connections
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from config.env import environment
from observability import health
from observability.metrics import may_read

LOOPBACK = "127.0.0.1"
JSON = ("Content-Type", "application/json")
Answer = tuple[HTTPStatus, tuple[str, str], bytes]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name there)
        """Log nothing: a line for every scrape is not useful."""


def serve() -> None:
    """Listen on SLIPWAY_HOST and SLIPWAY_METRICS_PORT, if a port is set.

    If a token is set and SLIPWAY_HOST is loopback (the default), listen on all addresses. Raises
    OSError if the port is in use.
    """
    if not settings.METRICS_PORT:
        return
    host = environment().host
    if host == LOOPBACK and settings.METRICS_TOKEN:
        host = ""
    server = make_server(host, settings.METRICS_PORT, _answer, _Server, _Quiet)
    Thread(target=server.serve_forever, name="probes", daemon=True).start()


def _answer(asked: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
    try:
        status, header, body = _answer_to(asked)
    finally:
        connections.close_all()
    challenge = [("WWW-Authenticate", "Bearer")] if status == HTTPStatus.UNAUTHORIZED else []
    start(f"{status.value} {status.phrase}", [header, *challenge])
    return [body]


def _answer_to(asked: dict[str, Any]) -> Answer:
    match asked.get("PATH_INFO"):
        case "/healthz":
            return HTTPStatus.OK, JSON, b'{"status":"ok"}'
        case "/readyz":
            excluded = parse_qs(asked.get("QUERY_STRING", "")).get("exclude", [])
            ready, parts = health.readiness(excluded)
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return status, JSON, json.dumps({"ready": ready, "parts": parts}).encode()
        case "/metrics" if may_read(asked):
            return HTTPStatus.OK, ("Content-Type", CONTENT_TYPE_LATEST), generate_latest(REGISTRY)
        case "/metrics":
            return HTTPStatus.UNAUTHORIZED, JSON, b"{}"
        case _:
            return HTTPStatus.NOT_FOUND, JSON, b"{}"
