"""The client of one build: buildx in a sandbox without a network, as the user that Slipway runs as.

It sees the build's context, the Dockerfile, the base images and the builder's socket, all
read-only. It writes the image into the one folder that is writable.
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
"""Bases are named contexts. BuildKit never fetches an image, even if our parser missed one."""
BUILD_ID_LABEL = "slipway.build"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedContext:
    """A base image for BuildKit, pinned by digest, in an OCI layout on the host's disk."""

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
    """Create the folder with the files that buildx reads in addition to the context.

    Raises BuildFailed (`context`) if the Dockerfile's own ignore file is too large.
    """
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
    """Start pruning the cache, least recently used first, down to `keep_bytes`."""
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
                # Otherwise buildx runs git in the context, with the context's git configuration.
                "BUILDX_GIT_INFO": "false",
                "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "/b/definition/policy.json",
            },
        )
    )
