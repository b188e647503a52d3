"""Why a worker takes no builds for a while: a check failed, or one build after another did."""

import threading
from math import inf
from time import monotonic
from uuid import UUID

FAILURES = 3
"""Builds of so many images in a row that failed through Slipway's fault."""
BACK_OFF = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds until the next look; the last one over and over."""


class Quarantine:
    """Of one worker process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reason = ""
        """Empty while the worker may take builds."""
        self._rounds = 0
        self._look_at = -inf
        self._failed: list[UUID] = []

    @property
    def active(self) -> bool:
        return bool(self.reason)

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return monotonic() >= self._look_at

    def begin(self, reason: str) -> float:
        """Begins or goes on; returns the seconds until the next look."""
        with self._lock:
            wait = BACK_OFF[min(self._rounds, len(BACK_OFF) - 1)]
            self._rounds += 1
            self._look_at = monotonic() + wait
            self.reason = reason
            return wait

    def end(self) -> None:
        """Checks passed. The next failure begins it again if failures had begun it."""
        with self._lock:
            self.reason = ""
            del self._failed[: len(self._failed) - FAILURES + 1]
            if not self._failed:
                self._rounds = 0

    def note_good(self) -> None:
        """A build ran as it should, whatever came out."""
        with self._lock:
            self._failed.clear()
            if not self.reason:
                self._rounds = 0

    def note_failure(self, image_id: UUID) -> bool:
        """A build failed through Slipway's fault. True where there were too many in a row."""
        with self._lock:
            if image_id not in self._failed:
                self._failed.append(image_id)
            return len(self._failed) >= FAILURES
