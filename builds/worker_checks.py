"""Checks before a worker takes a build, so that a faulty worker does not make builds fail."""

import os
import threading
from collections.abc import Callable
from logging import getLogger
from math import inf
from time import monotonic

from builds.conf import build_settings
from builds.engine_factory import engine
from builds.models.clock import check_clock
from builds.registry import make_registry
from builds.worker import WORKER
from common.outages import DATABASE_OUTAGES
from storage.interface import files

MIN_INODES = 10_000
MIB = 1024 * 1024
logger = getLogger(__name__)


class Unfit(Exception):
    """A check failed. The message says what is wrong."""


def check_disk() -> None:
    """Free space and inodes. Raises Unfit."""
    settings = build_settings()
    found = os.statvfs(settings.data_dir)
    free = found.f_bavail * found.f_frsize
    if free < settings.min_disk_bytes:
        least = settings.min_disk_bytes // MIB
        raise Unfit(f"{free // MIB} MiB are free, less than SLIPWAY_MIN_DISK_MB={least}")
    if found.f_files and found.f_favail < MIN_INODES:
        raise Unfit(f"the disk has only {found.f_favail} inodes left")


def check_storage() -> None:
    """The file storage. Raises OSError."""
    files().answer()


def check_registry() -> None:
    """The registry. Raises RegistryError."""
    make_registry(build_settings()).ping()


def check_engine() -> None:
    """The build engine. Raises Unfit."""
    fatal = [problem for problem in engine().problems() if problem.fatal]
    if fatal:
        raise Unfit("; ".join(problem.text for problem in fatal))


CHECKS: dict[str, Callable[[], None]] = {
    "disk": check_disk,
    "clock": check_clock,
    "engine": check_engine,
    "storage": check_storage,
    "registry": check_registry,
}


class WorkerChecks:
    """Runs the checks, and the quarantine if one fails. One per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed_at = -inf

    def forget(self) -> None:
        """Run all checks next time."""
        self._passed_at = -inf

    def fit(self) -> bool:
        """Whether this worker may take a build. Begins and ends its quarantine.

        Checks that passed within the last housekeeping interval are not repeated, except the disk
        check. Raises OperationalError or InterfaceError if the database is unavailable.
        """
        with self._lock:
            quarantine = WORKER.quarantine
            if quarantine.active and not quarantine.due:
                return False
            fresh = monotonic() - self._passed_at < build_settings().tick_seconds
            names = ["disk"] if fresh and not quarantine.active else [*CHECKS]
            problem = _first_problem(names)
            if problem is None:
                if len(names) > 1:
                    self._passed_at = monotonic()
                WORKER.end_quarantine()
                return True
            self._passed_at = -inf
            WORKER.begin_quarantine(problem)
            return False


def _first_problem(names: list[str]) -> str | None:
    for name in names:
        try:
            CHECKS[name]()
        except DATABASE_OUTAGES:
            raise
        except Exception as problem:  # noqa: BLE001  (every error is a reason)
            return f"{name}: {str(problem) or type(problem).__name__}"
    return None


WORKER_CHECKS = WorkerChecks()
