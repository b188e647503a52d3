"""A helper and a builder for the tests of this folder."""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helper.running import (
    ENGINE_ROOT,
    NO_LOOP_DEVICES,
    SYSTEM_PYTHON,
    RunningBuilder,
    RunningHelper,
    as_plain_user,
    make_base,
    running_builder,
    running_helper,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@dataclass(frozen=True)
class Base:
    """A context with a shell and perl, and the first lines of a Dockerfile that takes it."""

    context: Path
    dockerfile: str


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    context = tmp_path_factory.mktemp("base")
    return Base(context, make_base(context))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users reach. Every run of pytest closes the folder above tmp_path."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[RunningHelper]:
    """A helper with the rights of whoever runs the tests."""
    with running_helper(tmp_path / "data") as running:
        yield running


@pytest.fixture(params=["images", "folders", "plain user"])
def any_helper(request: pytest.FixtureRequest, open_folder: Path) -> Iterator[RunningHelper]:
    """A helper of each kind: root with and without loop devices, and a plain user."""
    data_dir = open_folder / "data"
    prefix: list[str] = []
    engine_root, python = ENGINE_ROOT, sys.executable
    if request.param == "folders":
        prefix = [*NO_LOOP_DEVICES]
    if request.param == "plain user":
        # The interpreter of the tests may be where only root can read.
        engine_root, python = open_folder / "engine-root", SYSTEM_PYTHON
        prefix = as_plain_user(data_dir, engine_root)
    with running_helper(data_dir, prefix=prefix, python=python, engine_root=engine_root) as found:
        assert found.client.info().cache_images == (request.param == "images")
        yield found


@pytest.fixture
def builder(helper: RunningHelper, tmp_path: Path) -> Iterator[RunningBuilder]:
    with running_builder(helper, tmp_path / "worker") as running:
        yield running
