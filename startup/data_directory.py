"""Locks a data directory for one `up` or `worker`, and records its worker processes.

Each worker process has a file in `workers/` with the name `Worker.name`. If the process was killed,
the next process that locks the directory renames the file to `<name>.gone`.
"""

import fcntl
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TextIO

from django.conf import settings

GONE = ".gone"
LOOK_SECONDS = 0.2


class InUse(Exception):
    """Another process uses a resource that this one needs. The message says what to do."""


def lock(data_dir: Path, *, patience: float = 0) -> TextIO:
    """Lock the data directory until the returned file is closed, here and in forked children.

    Raises InUse if another process holds the lock for longer than `patience` seconds.
    """
    file = (data_dir / "lock").open("w")
    until = monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= until:
                file.close()
                text = f"{data_dir} is in use by another Slipway: give each SLIPWAY_DATA_DIR"
                raise InUse(f"{text} to one `up` or `worker`") from None
            sleep(LOOK_SECONDS)
        else:
            return file


def retire_workers() -> None:
    """Mark all registered worker processes as gone. Called by the process that holds the lock."""
    for path in _folder().iterdir():
        if path.suffix != GONE:
            path.rename(path.with_name(path.name + GONE))


def register(name: str) -> None:
    """Record a worker process that starts."""
    (_folder() / name).touch()


def gone() -> list[str]:
    """Names of worker processes that were killed and whose builds were not yet taken over."""
    return [path.name.removesuffix(GONE) for path in _folder().glob(f"*{GONE}")]


def forget(name: str) -> None:
    """Remove the record: the process ended cleanly, or its builds were taken over."""
    for path in (_folder() / name, _folder() / f"{name}{GONE}"):
        with suppress(FileNotFoundError):
            path.unlink()


def _folder() -> Path:
    folder: Path = settings.DATA_DIR / "workers"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
