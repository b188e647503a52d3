"""The engine root: a read-only Debian tree with all programs that build, push and serve images.

`deploy/engine-root.sh` creates it. Its programs see this tree as `/usr`, and of the host only the
folders passed to them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = "packages.txt"
BUSYBOX = "usr/bin/busybox"
CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/docker/certs.d",
    "/etc/containers/certs.d",
)
"""Read from the host if present: operators add their own certificate authorities there."""
NAMES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services")
TEMPORARY_BYTES = 256 << 20


class NoEngineRoot(Exception):
    """There is no engine root at the configured path. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Files that a program sees besides its root: paths on the host, keyed by the path inside."""

    readable: Mapping[str, Path] = field(default_factory=dict)
    writable: Mapping[str, Path] = field(default_factory=dict)
    optional: Sequence[str] = ()
    """Paths shown read-only at the same place if the host has them."""


@dataclass(frozen=True, slots=True)
class EngineRoot:
    """An engine root by its path, which may be a symlink to the current one."""

    path: Path

    def find(self) -> Path:
        """The real path of the tree, which stays valid when a newer one is made. Raises
        NoEngineRoot."""
        found = self.path.resolve()
        if not (found / PACKAGES).is_file():
            raise NoEngineRoot(f"there is no engine root at {self.path}: `make engine` makes it")
        return found

    def packages(self) -> Mapping[str, str]:
        """Package versions by name. Raises NoEngineRoot."""
        lines = (self.find() / PACKAGES).read_text().splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def made_at(self) -> datetime:
        """When the tree was created, in UTC. Raises NoEngineRoot."""
        return datetime.fromtimestamp((self.find() / PACKAGES).stat().st_mtime, UTC)

    def command(
        self,
        program: str,
        *arguments: str | Path,
        readable: Iterable[Path] = (),
        writable: Iterable[Path] = (),
        cwd: Path | None = None,
        network: bool = False,
    ) -> list[str]:
        """The command line that runs a program of the engine root on the host, as the calling user.

        Paths are the same inside. With `network` it uses the host's network, otherwise none. Open
        file descriptors are inherited. Raises NoEngineRoot.
        """
        show = Show(
            readable={str(path): Path(path) for path in readable},
            writable={str(path): Path(path) for path in writable},
            optional=(*NAMES, *CERTIFICATES) if network else (),
        )
        argv = [program, *arguments]
        return sandboxed(self.find(), argv, show=show, network=network, env={}, cwd=cwd or "/")


def sandboxed(
    root: Path,
    argv: Sequence[str | Path],
    *,
    show: Show,
    network: bool,
    env: Mapping[str, str],
    cwd: str | Path = "/",
) -> list[str]:
    """The command line that runs `argv` in an engine root, through bubblewrap, without privileges.

    The program sees the engine root and the files in `show`, nothing else of the host. `network`
    gives it the caller's network, otherwise it has none. The environment is PATH and `env`. Open
    file descriptors are inherited.
    """
    command = ["bwrap", "--die-with-parent", "--unshare-all", "--new-session"]
    if network:
        command += ["--share-net"]
    command += ["--ro-bind", str(root / "usr"), "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        command += ["--symlink", f"usr/{name}", f"/{name}"]
    command += ["--proc", "/proc", "--dev", "/dev"]
    command += ["--size", str(TEMPORARY_BYTES), "--tmpfs", "/tmp"]  # noqa: S108
    for optional in show.optional:
        command += ["--ro-bind-try", optional, optional]
    for place, path in show.readable.items():
        command += ["--ro-bind", str(path), place]
    for place, path in show.writable.items():
        command += ["--bind", str(path), place]
    command += ["--remount-ro", "/", "--chdir", str(cwd), "--clearenv"]
    for key, value in {"PATH": "/usr/bin:/usr/sbin", **env}.items():
        command += ["--setenv", key, value]
    return [*command, "--", *map(str, argv)]
