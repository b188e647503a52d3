"""Builders for the suite, one of each for all cases."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.plain_docker import PlainDocker, running_docker
from tests.conformance.slipway import Slipway, running_slipway
from tests.engine_root import ENGINE_ROOT


@pytest.fixture(scope="session")
def started() -> float:
    """When the first build may have begun: what is younger was made by a build."""
    return time.time() - 1


@pytest.fixture(scope="session")
def plain_docker(
    tmp_path_factory: pytest.TempPathFactory, started: float
) -> Iterator[PlainDocker | None]:
    """None without root, which dockerd needs: then only what is written by hand is checked."""
    if os.geteuid() != 0:
        yield None
        return
    with running_docker(ENGINE_ROOT.find(), tmp_path_factory.mktemp("docker")) as docker:
        yield docker


@pytest.fixture(scope="session")
def slipway(started: float) -> Iterator[Slipway]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-test-", dir=Path.home()))
    try:
        with running_slipway(folder) as slipway:
            yield slipway
    finally:
        shutil.rmtree(folder, ignore_errors=True)
