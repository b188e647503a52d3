"""The environment that tests run in, set before any setting is read: a pytest plugin.

Each process of a parallel run has a data directory of its own.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

DATA_DIR = tempfile.mkdtemp(prefix="slipway-test-")
os.environ["SLIPWAY_DATA_DIR"] = DATA_DIR
Path(DATA_DIR, "static").mkdir()  # or whitenoise warns
os.environ.setdefault("SLIPWAY_ENGINE", "scripted")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(DATA_DIR, ignore_errors=True)
