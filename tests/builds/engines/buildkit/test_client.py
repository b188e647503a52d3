"""What buildx is shown beside the context."""

from pathlib import Path
from uuid import uuid4

import pytest

from builds import dockerfile
from builds.build_spec import BuildSpec
from builds.context.dockerignore import MOST_BYTES
from builds.engines.base import BuildFailed
from builds.engines.buildkit.client import write_definition
from tests.builds.engines.conftest import ROOMY


@pytest.fixture
def spec(tmp_path: Path) -> BuildSpec:
    (tmp_path / "context").mkdir()
    return BuildSpec(
        build_id=uuid4(),
        owner_id=uuid4(),
        label="owner/app:latest",
        context=tmp_path / "context",
        dockerfile=dockerfile.read("FROM scratch\nCOPY . /\n", build_args={}),
        build_args=(),
        network=False,
        limits=ROOMY,
        work=tmp_path,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_ignore_file_of_the_dockerfile_stands_beside_it(
    spec: BuildSpec, tmp_path: Path
) -> None:
    (spec.context / "Dockerfile.dockerignore").write_text("a\n")
    write_definition(tmp_path / "made", spec)
    assert (tmp_path / "made/Dockerfile.dockerignore").read_text() == "a\n"


def test_an_ignore_file_that_is_a_link_is_not_followed(spec: BuildSpec, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    (spec.context / "Dockerfile.dockerignore").symlink_to(tmp_path / "secret")
    write_definition(tmp_path / "made", spec)
    assert names(tmp_path / "made") == {"Dockerfile", "policy.json"}


def test_a_huge_ignore_file_is_refused_unread(spec: BuildSpec, tmp_path: Path) -> None:
    with (spec.context / "Dockerfile.dockerignore").open("wb") as file:
        file.truncate(MOST_BYTES + (1 << 40))
    with pytest.raises(BuildFailed, match="larger than 262,144 bytes") as refused:
        write_definition(tmp_path / "made", spec)
    assert refused.value.code == "context"
