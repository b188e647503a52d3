"""Builders for the suite, one of each for all cases."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.plain_docker import PlainDocker, running_docker


@pytest.fixture(scope="session")
def engine_root() -> Path:
    """The engine root that `make engine` made, or the one that the environment names."""
    named = os.environ.get("SLIPWAY_TEST_ENGINE_ROOT", "var/engine-root/current")
    root = Path(named).resolve()
    assert (root / "usr/bin").is_dir(), f"no engine root at {root}: run `make engine`"
    return root


@pytest.fixture(scope="session")
def started() -> float:
    """When the first build may have begun: what is younger was made by a build."""
    return time.time() - 1


@pytest.fixture(scope="session")
def plain_docker(
    engine_root: Path, tmp_path_factory: pytest.TempPathFactory, started: float
) -> Iterator[PlainDocker]:
    with running_docker(engine_root, tmp_path_factory.mktemp("docker")) as docker:
        yield docker
