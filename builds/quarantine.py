"""Quarantine of a worker: it takes no builds after a failed check or several failed builds."""

import threading
from math import inf
from time import monotonic
from uuid import UUID

FAILURES = 3
"""Builds of this many images in a row must fail through Slipway's fault."""
BACK_OFF = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds until the next check; the last value repeats."""


class Quarantine:
    """Quarantine of one worker process. Thread-safe."""

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
        """Whether it is time for the next check."""
        return monotonic() >= self._look_at

    def begin(self, reason: str) -> float:
        """Begin or extend the quarantine. Returns the seconds until the next check."""
        with self._lock:
            wait = BACK_OFF[min(self._rounds, len(BACK_OFF) - 1)]
            self._rounds += 1
            self._look_at = monotonic() + wait
            self.reason = reason
            return wait

    def end(self) -> None:
        """End the quarantine after the checks passed. If failed builds caused it, a single
        further one begins it again."""
        with self._lock:
            self.reason = ""
            del self._failed[: len(self._failed) - FAILURES + 1]
            if not self._failed:
                self._rounds = 0

    def note_good(self) -> None:
        """Record that a build ran without a fault of Slipway, whatever its result."""
        with self._lock:
            self._failed.clear()
            if not self.reason:
                self._rounds = 0

    def note_failure(self, image_id: UUID) -> bool:
        """Record a failure through Slipway's fault. True if there were too many in a row."""
        with self._lock:
            if image_id not in self._failed:
                self._failed.append(image_id)
            return len(self._failed) >= FAILURES
