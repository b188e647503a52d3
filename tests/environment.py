"""The environment that tests run in, set before any setting is read: a pytest plugin.

Each process of a parallel run has a data directory of its own.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

import tests.engine_root  # noqa: F401  (sets its variable)
from tests.seed import SEED

DATA_DIR = tempfile.mkdtemp(prefix="slipway-test-")
# One for all processes of a parallel run, made in the first of them.
SEED_DIR = None if SEED in os.environ else tempfile.mkdtemp(prefix="slipway-test-seed-")
if SEED_DIR:
    os.environ[SEED] = SEED_DIR
os.environ["SLIPWAY_DATA_DIR"] = DATA_DIR
Path(DATA_DIR, "static").mkdir()  # or whitenoise warns
os.environ.setdefault("SLIPWAY_ENGINE", "scripted")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(DATA_DIR, ignore_errors=True)
    if SEED_DIR:
        shutil.rmtree(SEED_DIR, ignore_errors=True)
