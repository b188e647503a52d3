"""Runs the health checks in background threads, so that pages do not wait for them."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic

from django.db import connections

from observability import health

FRESH_SECONDS = 10.0
PATIENCE = 0.5
"""Seconds that a page waits for results. Later results appear on the next page."""
ASKED = "no answer yet"


class Checkup:
    """The last result of each health check. One per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[float, str]] = {}
        self._asking: dict[str, Future[None]] = {}
        self._threads = ThreadPoolExecutor(len(health.CHECKS), thread_name_prefix="checkup")

    def look(self, patience: float = PATIENCE) -> Mapping[str, str]:
        """For each part `ok`, its problem, or that there is no answer yet.

        Starts checks older than FRESH_SECONDS, and waits at most `patience` seconds for them.
        """
        with self._lock:
            for name in health.CHECKS:
                at, _ = self._answers.get(name, (-FRESH_SECONDS, ""))
                if monotonic() - at >= FRESH_SECONDS and name not in self._asking:
                    self._asking[name] = self._threads.submit(self._ask, name)
            asking = list(self._asking.values())
        wait(asking, timeout=patience)
        with self._lock:
            return {name: self._answers.get(name, (0.0, ASKED))[1] for name in health.CHECKS}

    def _ask(self, name: str) -> None:
        try:
            answer = health.answer_of(name)
        finally:
            connections.close_all()
        with self._lock:
            self._answers[name] = (monotonic(), answer)
            self._asking.pop(name, None)


CHECKUP = Checkup()
