"""Liveness and readiness for probes: whether this process and its dependencies answer."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from tempfile import TemporaryFile

from django.conf import settings
from django.db import connection
from dramatiq.brokers.redis import RedisBroker
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from api.views import OpenView
from builds.broker import QUEUE, broker
from builds.models.clock import check_clock
from builds.worker import WORKER
from builds.worker_checks import check_disk, check_engine, check_registry
from storage.interface import files

WELL = {
    "title": "Alive",
    "description": "That the process answers.",
    "type": "object",
    "properties": {"status": {"type": "string", "enum": ["ok"]}},
    "required": ["status"],
}
READINESS = {
    "title": "Readiness",
    "description": "Whether each dependency answers.",
    "type": "object",
    "properties": {
        "ready": {"type": "boolean"},
        "parts": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "By part `ok`, or what is wrong with it.",
        },
    },
    "required": ["ready", "parts"],
}


class AliveView(OpenView):
    @extend_schema(operation_id="is_alive", responses={200: WELL})
    def retrieve(self, request: Request) -> Response:
        """Whether the process is alive."""
        return Response({"status": "ok"})


class PingView(AliveView):
    """The address that the Chutes command line requests before it registers a user."""

    @extend_schema(operation_id="ping", responses={200: WELL})
    def retrieve(self, request: Request) -> Response:
        """Whether the process is alive, like `/healthz`."""
        return super().retrieve(request)


class ReadyView(OpenView):
    @extend_schema(
        operation_id="is_ready",
        responses={200: READINESS, 503: OpenApiResponse(READINESS, "Something does not answer.")},
    )
    def retrieve(self, request: Request) -> Response:
        """Whether each dependency answers, except those that `exclude` names."""
        ready, parts = readiness(request.query_params.getlist("exclude"))
        return Response({"ready": ready, "parts": parts}, status=200 if ready else 503)


def readiness(excluded: Collection[str] = ()) -> tuple[bool, dict[str, str]]:
    """Whether this process is ready, and for each part `ok` or its problem.

    Excluded parts are reported but do not decide. A process that is stopping is not ready.
    """
    parts = {name: answer_of(name) for name in PROCESS.parts or CHECKS}
    ready = all(answer == "ok" for name, answer in parts.items() if name not in excluded)
    return ready and not PROCESS.leaving.is_set(), parts


def answer_of(part: str) -> str:
    """Run the check of a part. Returns `ok` or its problem."""
    try:
        (CHECKS | OF_WORKERS)[part]()
    except Exception as problem:  # noqa: BLE001  (whatever is wrong is the answer)
        return f"{type(problem).__name__}: {problem}"
    return "ok"


def database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def queue() -> None:
    """Check Redis, or that a worker of this process has declared the queue."""
    if isinstance(broker, RedisBroker):
        broker.client.ping()
    elif QUEUE not in broker.get_declared_queues():
        raise RuntimeError("no worker has declared its queue")


def storage() -> None:
    """Check the folder for request bodies and the default storage."""
    with TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
        file.write(b"ok")
    files().answer()


def quarantine() -> None:
    """Fail while this worker is in quarantine."""
    if WORKER.quarantine.active:
        raise RuntimeError(WORKER.quarantine.reason)


CHECKS: dict[str, Callable[[], None]] = {
    "database": database,
    "clock": check_clock,
    "queue": queue,
    "storage": storage,
    "registry": check_registry,
    "engine": check_engine,
}
OF_WORKERS: dict[str, Callable[[], None]] = {"disk": check_disk, "quarantine": quarantine}
WEB = ("database", "clock", "queue", "storage")


@dataclass(slots=True)
class Process:
    """Which checks apply to this process, and whether it is stopping."""

    parts: Collection[str] | None = None
    """Names of the checks. None means all CHECKS: for a process that serves and builds."""
    leaving: threading.Event = field(default_factory=threading.Event)


PROCESS = Process()
