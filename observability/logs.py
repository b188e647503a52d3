"""Log records: JSON format, ids of the request and the build, errors stored for operators."""

import logging
import os
import queue
import socket
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from builds.log_context import BUILD_ID

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
WAITING = 100
"""Errors that may wait to be stored. If there are more, they are only in the log."""


class Ids(logging.Filter):
    """Adds `request_id` and `build_id` to each record. Empty if there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        request, build = REQUEST_ID.get(), BUILD_ID.get()
        ids = f" request={request}" if request else ""
        ids += f" build={build}" if build else ""
        record.__dict__ |= {"request_id": request, "build_id": build, "ids": ids}
        return True


class JsonFormatter(logging.Formatter):
    """Formats each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "thread": record.threadName,
        }
        for name in ("request_id", "build_id"):
            if value := getattr(record, name, ""):
                told[name] = value
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(told, default=str).decode()


class Keeper(logging.Handler):
    """Stores errors in the database, in a separate thread, so that logging never waits for it.

    While the database is unreachable, errors are only in the log.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._waiting: queue.Queue[dict[str, str]] = queue.Queue(WAITING)
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        threading.Thread(target=self._run, name="errors", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread().name == "errors":
            return
        trouble = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        told = {
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            "traceback": trouble,
            "request_id": REQUEST_ID.get(),
            "build_id": BUILD_ID.get(),
        }
        try:
            self._waiting.put_nowait(told)
        except queue.Full:
            return

    def _run(self) -> None:
        from django.db import connection  # noqa: PLC0415  (settings name this module)

        from builds.models.incidents import Incident  # noqa: PLC0415

        while True:
            told = self._waiting.get()
            try:
                Incident(**told).keep()
            except Exception:  # noqa: BLE001  (it is in the log already)
                logging.getLogger(__name__).warning("an error could not be kept")
            finally:
                connection.close()


def keep_errors() -> None:
    """Install the handler that stores this process's errors for operators."""
    root = logging.getLogger()
    if not any(isinstance(handler, Keeper) for handler in root.handlers):
        root.addHandler(Keeper())
