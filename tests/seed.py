"""A data directory as a first start leaves it: made once in a run, copied for each instance."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

SEED = "SLIPWAY_TEST_SEED"


def plant(data_dir: Path, *, grow: Callable[[Path], object]) -> None:
    """Copies the seed to `data_dir`. `grow` makes it at the path it is given, where it is missing.

    Nothing happens outside a test run, which alone names a place for it.
    """
    if SEED not in os.environ:
        return
    folder = Path(os.environ[SEED])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "grown").exists():
            shutil.rmtree(folder / "data", ignore_errors=True)
            grow(folder / "data")
            (folder / "grown").touch()
    # Sockets are no files that could be copied.
    shutil.copytree(folder / "data", data_dir, ignore=shutil.ignore_patterns("socket"))
