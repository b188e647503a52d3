"""Whether the process lives, and whether each thing it needs answers."""

from collections.abc import Callable
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
from builds.worker_checks import check_engine, check_registry
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
        """Whether the process lives."""
        return Response({"status": "ok"})


class ReadyView(OpenView):
    @extend_schema(
        operation_id="is_ready",
        responses={200: READINESS, 503: OpenApiResponse(READINESS, "Something does not answer.")},
    )
    def retrieve(self, request: Request) -> Response:
        """Whether each thing that it needs answers."""
        parts = {name: answer_of(name) for name in CHECKS}
        well = all(answer == "ok" for answer in parts.values())
        return Response({"ready": well, "parts": parts}, status=200 if well else 503)


def answer_of(part: str) -> str:
    """`ok`, or what is wrong with it."""
    try:
        CHECKS[part]()
    except Exception as problem:  # noqa: BLE001  (whatever is wrong is the answer)
        return f"{type(problem).__name__}: {problem}"
    return "ok"


def database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def queue() -> None:
    if isinstance(broker, RedisBroker):
        broker.client.ping()
    elif QUEUE not in broker.get_declared_queues():
        raise RuntimeError("no worker has declared its queue")


def storage() -> None:
    """What bodies are spooled to, and where files stay."""
    with TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
        file.write(b"ok")
    files().answer()


CHECKS: dict[str, Callable[[], None]] = {
    "database": database,
    "clock": check_clock,
    "queue": queue,
    "storage": storage,
    "registry": check_registry,
    "engine": check_engine,
}
