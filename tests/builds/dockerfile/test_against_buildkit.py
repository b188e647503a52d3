"""The corpus, built by the real BuildKit: what was recorded of it still holds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from builds.build_spec import Dockerfile
from builds.dockerfile import DockerfileRefused, read
from builds.process import run
from tests.builds.dockerfile.corpus import BUILT, FAILING, Build, Case, Ran, compare
from tests.conformance.plain_docker import BUILDX, PlainDocker, programs, running_docker
from tests.engine_root import ENGINE_ROOT

pytestmark = [pytest.mark.engine, pytest.mark.long]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainDocker]:
    with running_docker(ENGINE_ROOT.find(), tmp_path_factory.mktemp("reader")) as docker:
        yield docker


@pytest.fixture(scope="module")
def buildkit(docker: PlainDocker) -> Build:
    layout = _busybox(docker.folder / "bases")
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    context = docker.folder / "context"
    context.mkdir()
    (context / "a.txt").write_text("a\n")
    (context / "busybox").write_bytes((docker.engine_root / "usr/bin/busybox").read_bytes())

    def build(found: Dockerfile, case: Case) -> Ran:
        (context / "Dockerfile").write_bytes(found.text.encode())
        command = [BUILDX, "build", "--progress=rawjson", "--provenance=false"]
        command += ["--network=host", "--allow=network.host"]
        command += [f"--build-arg={name}={value}" for name, value in case.build_args.items()]
        command += [f"--target={case.target}"] if case.target else []
        for base in found.bases:
            command += ["--build-context", f"{base.context}=oci-layout:///base@{digest}"]
        finished = run(
            [
                *("bwrap", "--unshare-all", "--die-with-parent", *programs(docker.engine_root)),
                *("--ro-bind", str(docker.folder / "socket"), "/socket"),
                *("--ro-bind", str(layout), "/base", "--ro-bind", str(context), "/context"),
                *("--setenv", "DOCKER_HOST", "unix:///socket/docker.sock"),
                *("--", *command, "/context"),
            ],
            deadline=60,
            check=False,
            output_limit=64 << 20,
        )
        vertexes, rest = _parse(finished.stderr.decode(errors="replace"))
        return Ran(vertexes, rest.strip()[-2000:] if finished.exit_code else "")

    return build


@pytest.mark.parametrize("case", BUILT, ids=lambda case: case.name)
def test_buildkit_does_what_was_recorded(case: Case, buildkit: Build) -> None:
    found = read(case.text, build_args=case.build_args, target=case.target, platform="linux/amd64")
    assert compare(case, found, buildkit) == []


@pytest.mark.parametrize("text", FAILING)
def test_buildkit_refuses_what_the_reader_passes_on(text: str, buildkit: Build) -> None:
    found = read(text, build_args={}, platform="linux/amd64")
    assert "failed to solve" in buildkit(found, Case("failing", text)).error


@pytest.mark.parametrize(
    "text",
    [
        "FROM busybox\nCOPY --from=$V / /\n", "FROM $V\n", "FROM busybox:$V\n", "FROM Busybox\n",
        "FROM --platform=foo busybox\n", "RUN x\nFROM busybox\n", "// syntax=x\nFROM busybox\n",
        "FROM busybox AS b\nCOPY --from=c / /\nFROM busybox AS c\nFROM b\n",
        "FROM busybox\nRUN --mount=type=secret,id=x,required true\n",
        "FROM busybox\nRUN --mount=type=ssh,required true\n",
        "FROM busybox\nRUN --security=insecure true\n",
    ],
)  # fmt: skip
def test_buildkit_does_not_build_what_the_reader_refuses(text: str, buildkit: Build) -> None:
    with pytest.raises(DockerfileRefused):
        read(text, build_args={}, platform="linux/amd64")
    plain = Dockerfile(text=text, shared={}, written={})
    assert "failed to solve" in buildkit(plain, Case("refused", text)).error


def _busybox(layouts: Path) -> Path:
    return next(path.parent for path in layouts.glob("*/name") if "busybox" in path.read_text())


def _parse(output: str) -> tuple[list[str], str]:
    """Titles of vertexes, and the text after the progress."""
    decoder = json.JSONDecoder()
    names: dict[str, None] = {}
    while (output := output.lstrip()).startswith("{"):
        progress, end = decoder.raw_decode(output)
        output = output[end:]
        names.update((vertex["name"], None) for vertex in progress.get("vertexes") or [])
    return list(names), output
