"""The builds that Slipway's are compared with: the same ones by programs used directly."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import Protocol

from tests.conformance.plain_docker import BUILDX, PlainDocker, programs, running_docker
from tests.engine_root import ENGINE_ROOT
from tests.registry import running_registry

USER = "slipway-build"
Files = Mapping[str, bytes]


class Builds(Protocol):
    """Builds an image and pushes it to a registry on this machine."""

    def build(self, dockerfile: str, files: Files, tag: str) -> float:
        """Returns seconds. BASE in the Dockerfile stands for a small base image."""
        ...


class Peer(Builds, Protocol):
    """A program used directly."""

    name: str

    def build(self, dockerfile: str, files: Files, tag: str, log: int = DEVNULL) -> float:
        """Its output goes to the descriptor `log`."""
        ...


def write_files(folder: Path, files: Files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class Docker:
    """`docker buildx build --push` with the engine root's dockerd, which runs as root.

    Its registry is that of the engine root and runs on the same machine.
    """

    name = "docker_buildx"
    registry = "127.0.0.1:5000"

    def __init__(self, plain: PlainDocker) -> None:
        self._plain = plain
        self._context = plain.folder / "bench"

    def build(self, dockerfile: str, files: Files, tag: str, log: int = DEVNULL) -> float:
        write_files(self._context, files)
        text = dockerfile.replace("BASE", f"{self.registry}/library/busybox:latest")
        (self._context / "Dockerfile").write_text(text)
        image = f"{self.registry}/bench/tiny:{tag}"
        began = time.monotonic()
        subprocess.run(
            [
                # Only its own mount namespace, because the engine root is not the host's root.
                *("bwrap", "--die-with-parent", *programs(self._plain.engine_root)),
                *("--ro-bind", str(self._plain.folder / "socket"), "/socket"),
                *("--ro-bind", str(self._context), "/context", "--chdir", "/context"),
                *("--setenv", "DOCKER_HOST", "unix:///socket/docker.sock", "--"),
                *(BUILDX, "build", "--progress=plain", "--provenance=false"),
                *("--network=host", "--allow=network.host"),
                *(f"--output=type=image,name={image},push=true", "/context"),
            ],
            check=True,
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
        )
        return time.monotonic() - began


@contextmanager
def docker() -> Iterator[Docker]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-docker-"))
    try:
        with running_docker(ENGINE_ROOT.find(), folder) as plain:
            yield Docker(plain)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Buildah:
    """`buildah build` and `buildah push`, rootless, with Debian 12's runc."""

    name = "bare_buildah"

    def __init__(self, folder: Path, registry: str, base: str) -> None:
        self._folder = folder
        self._registry = registry
        self._base = base
        for name in ("store", "run", "tmp", "context"):
            (folder / name).mkdir(parents=True)
        subprocess.run(["chown", "-R", USER, folder], check=True)

    def build(self, dockerfile: str, files: Files, tag: str, log: int = DEVNULL) -> float:
        context = self._folder / "context"
        write_files(context, files)
        (context / "Dockerfile").write_text(dockerfile.replace("BASE", self._base))
        image = f"{self._registry}/bare/tiny:{tag}"
        began = time.monotonic()
        self._buildah(
            *("build", "--layers", "--isolation=rootless", "--runtime=runc", "--network=host"),
            *("--tls-verify=false", "--label", f"n={tag}", "-t", image, "context"),
            log=log,
        )
        self._buildah("push", "--tls-verify=false", image)
        return time.monotonic() - began

    def _buildah(self, *arguments: str, log: int = DEVNULL) -> None:
        command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]
        command += ["buildah", f"--root={self._folder}/store", f"--runroot={self._folder}/run"]
        command += ["--storage-driver=overlay"]
        environment = {
            "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
            "HOME": str(self._folder / "tmp"),
            "XDG_RUNTIME_DIR": str(self._folder / "run"),
            "TMPDIR": str(self._folder / "tmp"),
        }
        subprocess.run(
            [*command, *arguments],
            cwd=self._folder,
            env=environment,
            check=True,
            stdout=log,
            stderr=log,
        )

    def remove(self) -> None:
        become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]
        clear = ["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf"]
        subprocess.run([*become, *clear, f"{self._folder}/store"], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def buildah(base: str) -> Iterator[Buildah | None]:
    """None if it is not installed. Its base image comes from the registry in its reference."""
    if shutil.which("buildah") is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-buildah-"))
    folder.chmod(0o755)
    with running_registry_in(folder) as registry:
        peer = Buildah(folder / "buildah", registry, base)
        try:
            yield peer
        finally:
            peer.remove()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_registry_in(folder: Path) -> Iterator[str]:
    (folder / "registry").mkdir()
    with running_registry(folder / "registry") as address:
        yield address
