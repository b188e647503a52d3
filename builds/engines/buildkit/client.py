"""The client of one build: buildx in a sandbox without a network, as the user that Slipway runs as.

It sees the build's context, the Dockerfile, the base images it needs and the builder's socket, all
read-only, and writes the finished image into the one folder that it may write to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builds.build_spec import BuildSpec
from builds.context import OF_DOCKERFILE, DockerignoreError, read_ignore_file
from builds.engine_root import Show, sandboxed
from builds.engines.base import BuildFailed
from builds.process import Child, start

BUILDX = "/usr/libexec/docker/cli-plugins/docker-buildx"
POLICY = '{"rules":[{"action":"DENY","selector":{"identifier":"docker-image://*"}}]}'
"""Bases come as named contexts. What the reader of the Dockerfile missed is never fetched."""
BUILD_ID_LABEL = "slipway.build"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedContext:
    """A base image for BuildKit, pinned by digest, in an OCI layout on our disk."""

    name: str
    store: Path
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFiles:
    """The folders of one build on the host."""

    socket: Path
    definition: Path
    """Holds `Dockerfile`, `Dockerfile.dockerignore` where the context has one, `policy.json`."""
    context: Path
    output: Path
    """Where buildx keeps its OCI layout, `output/layout`."""
    bases: Sequence[NamedContext] = field(default_factory=tuple)


def write_definition(folder: Path, spec: BuildSpec) -> None:
    """Lay out what buildx reads beside the context."""
    folder.mkdir()
    (folder / "Dockerfile").write_bytes(spec.dockerfile.text.encode(errors="surrogateescape"))
    (folder / "policy.json").write_text(POLICY)
    # buildx looks for it beside the Dockerfile, which is not in the context.
    try:
        own = read_ignore_file(spec.context, OF_DOCKERFILE)
    except DockerignoreError as problem:
        raise BuildFailed(f"{problem}: list folders instead of files", code="context") from problem
    if own is not None:
        (folder / OF_DOCKERFILE).write_bytes(own)


def start_build(engine_root: Path, spec: BuildSpec, files: ClientFiles) -> Child:
    """Start the build. Progress arrives on stderr; see `rawjson`."""
    arguments = [
        *("build", "--progress=rawjson", "--provenance=false"),
        *("--network=host", "--allow=network.host"),
        *("--output", "type=oci,tar=false,dest=/b/output/layout"),
        *("--file", "/b/definition/Dockerfile"),
        *("--label", f"{BUILD_ID_LABEL}={spec.build_id}"),
    ]
    for name, value in spec.labels:
        arguments += ["--label", f"{name}={value}"]
    for name, value in spec.build_args:
        arguments += ["--build-arg", f"{name}={value}"]
    if spec.target:
        arguments += ["--target", spec.target]
    if spec.no_cache:
        arguments.append("--no-cache")
    stores = {store: f"/b/bases/{at}" for at, store in enumerate({b.store: 0 for b in files.bases})}
    for base in files.bases:
        place = f"{stores[base.store]}@{base.digest}"
        arguments += ["--build-context", f"{base.name}=oci-layout://{place}"]
    readable = {
        "/b/docker.sock": files.socket,
        "/b/definition": files.definition,
        "/b/context": files.context,
        **{place: store for store, place in stores.items()},
    }
    return _start(engine_root, [*arguments, "/b/context"], readable, {"/b/output": files.output})


def start_prune(engine_root: Path, socket: Path, *, keep_bytes: int) -> Child:
    """Start dropping the least recently used cache until no more than `keep_bytes` are left."""
    arguments = ["prune", "--force", f"--keep-storage={keep_bytes}"]
    return _start(engine_root, arguments, {"/b/docker.sock": socket}, {})


def _start(
    engine_root: Path,
    arguments: Sequence[str],
    readable: Mapping[str, Path],
    writable: Mapping[str, Path],
) -> Child:
    return start(
        sandboxed(
            engine_root,
            [BUILDX, *arguments],
            show=Show(readable=readable, writable=writable),
            network=False,
            env={
                "HOME": "/tmp",  # noqa: S108  (in the sandbox)
                "DOCKER_HOST": "unix:///b/docker.sock",
                # Else buildx runs git in the context, by whatever configuration stands there.
                "BUILDX_GIT_INFO": "false",
                "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "/b/definition/policy.json",
            },
        )
    )
