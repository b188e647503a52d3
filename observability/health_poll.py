"""Asks everything that Slipway needs how it is, without letting whoever looks at a page wait."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic

from django.db import connections

from observability import health

FRESH_SECONDS = 10.0
PATIENCE = 0.5
"""Seconds that a page waits for answers; later ones are on the next."""
ASKED = "no answer yet"


class Checkup:
    """One per process: the last answer of each part."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[float, str]] = {}
        self._asking: dict[str, Future[None]] = {}
        self._threads = ThreadPoolExecutor(len(health.CHECKS), thread_name_prefix="checkup")

    def look(self, patience: float = PATIENCE) -> Mapping[str, str]:
        """By part `ok`, what is wrong with it, or that it has not answered yet."""
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
