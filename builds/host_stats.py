"""Measure a worker's machine: disk usage by part, and versions of programs.

Walking the folders may take minutes, so a separate thread does it and stores it in the worker's
row.
"""

import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from platform import python_version

from django.db import connection, connections
from django.utils import timezone

from builds.conf import BuildSettings, build_settings
from builds.engine_root import NoEngineRoot
from builds.engines.sandbox.helper import Helper, HelperError
from builds.models.workers import Worker
from builds.worker import WORKER

REST_SECONDS = 60.0
SHARE = 20
"""The pause after a measurement is at least this many times its duration."""
BLOCK = 512
PROGRAMS = ("docker.io", "docker-buildx", "runc", "skopeo", "docker-registry")
logger = getLogger(__name__)


def keep_measuring(helper: Helper | None) -> None:
    """Measure repeatedly until this worker stops."""
    rest = 0.0
    while not WORKER.stopping.wait(rest):
        began = time.monotonic()
        try:
            Worker.objects.filter(pk=WORKER.name).update(machine=measure(build_settings(), helper))
        except Exception:
            logger.exception("the machine could not be measured")
        connections.close_all()
        rest = max(REST_SECONDS, SHARE * (time.monotonic() - began))


def measure(settings: BuildSettings, helper: Helper | None) -> dict[str, object]:
    """Disk usage in bytes and installed versions, JSON-serializable."""
    there = os.statvfs(settings.data_dir)
    size = there.f_blocks * there.f_frsize
    parts = {
        "files": folder_bytes(settings.data_dir / "files"),
        "engine": folder_bytes(settings.data_dir / "engine"),
        "database": database_bytes(),
    }
    if settings.registry_guarded:
        parts["registry"] = folder_bytes(settings.data_dir / "registry")
    if helper is not None:
        parts["caches"] = cache_bytes(settings, helper)
    return {
        "at": timezone.now().isoformat(),
        "parts": parts,
        "used": sum(parts.values()),
        "budget": settings.disk_budget_bytes or size,
        "size": size,
        "free": there.f_bavail * there.f_frsize,
        "programs": programs(settings),
    }


def folder_bytes(folder: Path) -> int:
    """Disk space of a folder in bytes. Hard links count once; 0 if the folder is missing.

    Folders that this process cannot read are not counted.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    due = [str(folder)]
    while due:
        with suppress(OSError), os.scandir(due.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                        key = (found.st_dev, found.st_ino)
                        if key in seen:
                            continue
                        seen.add(key)
                    total += found.st_blocks * BLOCK
                    if stat.S_ISDIR(found.st_mode):
                        due.append(entry.path)
    return total


def cache_bytes(settings: BuildSettings, helper: Helper) -> int:
    """Size of the owners' build caches in bytes: as the helper reports it, or measured in its
    folder if it runs as a plain user."""
    with suppress(HelperError):
        sizes = [each.bytes for each in helper.caches()]
        if None not in sizes:
            return sum(filter(None, sizes))
    return folder_bytes(settings.data_dir / "helper")


def database_bytes() -> int:
    """Size of the database in bytes."""
    if connection.vendor == "sqlite":
        path = str(connection.settings_dict["NAME"])
        files = [Path(path), *(Path(f"{path}-{end}") for end in ("wal", "shm"))]
        return sum(file.stat().st_size for file in files if file.exists())
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def programs(settings: BuildSettings) -> Mapping[str, str]:
    """Versions of Python and of packages in the engine root, if there is one."""
    asked = {"python": python_version()}
    with suppress(NoEngineRoot):
        found = settings.engine_root.packages()
        asked |= {name: found[name] for name in PROGRAMS if name in found}
    return asked
