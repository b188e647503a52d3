"""Who works in a data directory: one `up` or one `worker`, and the worker processes it has had.

Each worker process has a file in `workers/`, named as in `Worker.name`. What a process that was
killed left there is renamed by the next that locks the directory.
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
    """Another process has what this one needs. The text says what and what to do."""


def lock(data_dir: Path, *, patience: float = 0) -> TextIO:
    """Holds the data directory until the returned file is closed, here and in forked children.

    Raises InUse where another has it for longer than `patience` seconds.
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
    """The worker processes of this data directory are gone. Called by whoever locks it."""
    for path in _folder().iterdir():
        if path.suffix != GONE:
            path.rename(path.with_name(path.name + GONE))


def register(name: str) -> None:
    """A worker process of that name begins."""
    (_folder() / name).touch()


def gone() -> list[str]:
    """The names of processes that ended without a word and that nobody took over yet."""
    return [path.name.removesuffix(GONE) for path in _folder().glob(f"*{GONE}")]


def forget(name: str) -> None:
    """It ended well, or somebody took over what it held."""
    for path in (_folder() / name, _folder() / f"{name}{GONE}"):
        with suppress(FileNotFoundError):
            path.unlink()


def _folder() -> Path:
    folder: Path = settings.DATA_DIR / "workers"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
