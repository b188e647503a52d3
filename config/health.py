"""Whether the process lives, and whether each thing it needs answers."""

from collections.abc import Callable
from tempfile import TemporaryFile

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from dramatiq.brokers.redis import RedisBroker

from builds.broker import QUEUE, broker
from builds.conf import build_settings
from builds.registry import make_registry
from builds.runner import engine


def alive(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 with each part "ok", or 503 with what the broken ones say."""
    parts = {name: _answer(check) for name, check in CHECKS.items()}
    well = all(answer == "ok" for answer in parts.values())
    return JsonResponse({"ready": well, "parts": parts}, status=200 if well else 503)


def _answer(check: Callable[[], None]) -> str:
    try:
        check()
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
    with TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
        file.write(b"ok")


def registry() -> None:
    make_registry(build_settings()).ping()


def engine_works() -> None:
    fatal = [problem for problem in engine().problems() if problem.fatal]
    if fatal:
        raise RuntimeError("; ".join(problem.text for problem in fatal))


CHECKS: dict[str, Callable[[], None]] = {
    "database": database,
    "queue": queue,
    "storage": storage,
    "registry": registry,
    "engine": engine_works,
}
