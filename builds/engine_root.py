"""The engine root: a read-only tree of Debian with all programs that build, push and serve images.

`deploy/engine-root.sh` makes it. Its programs see this tree as their `/usr`, and of the host only
the folders that they are given.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = "packages.txt"
BUSYBOX = "usr/bin/busybox"
CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/docker/certs.d",
    "/etc/containers/certs.d",
)
"""Of the host where it has them: operators add their own authorities there."""
NAMES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services")
SCRATCH_BYTES = 64 << 20


class NoEngineRoot(Exception):
    """There is none where it should be. The text says what to do."""


@dataclass(frozen=True, slots=True)
class EngineRoot:
    """One by its path, which may be the link that names the present one."""

    path: Path

    def find(self) -> Path:
        """The tree itself, which stays the same when another one is made. Raises NoEngineRoot."""
        found = self.path.resolve()
        if not (found / PACKAGES).is_file():
            raise NoEngineRoot(f"there is no engine root at {self.path}: `make engine` makes it")
        return found

    def packages(self) -> Mapping[str, str]:
        """Versions by the package's name. Raises NoEngineRoot."""
        lines = (self.find() / PACKAGES).read_text().splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def made_at(self) -> datetime:
        """Raises NoEngineRoot."""
        return datetime.fromtimestamp((self.find() / PACKAGES).stat().st_mtime, UTC)

    def command(
        self,
        program: str,
        *arguments: str | Path,
        readable: Iterable[Path] = (),
        writable: Iterable[Path] = (),
        cwd: Path | None = None,
        network: bool = False,
    ) -> list[str | Path]:
        """What runs a program of the engine root on the host, as whoever starts it.

        Paths are the same inside. With `network` it has the host's; without, none. Open descriptors
        are passed on. Raises NoEngineRoot.
        """
        root = self.find()
        command: list[str | Path] = [
            *("bwrap", "--die-with-parent", "--unshare-all", "--new-session"),
            *("--ro-bind", root / "usr", "/usr"),
            *("--proc", "/proc", "--dev", "/dev", "--size", str(SCRATCH_BYTES), "--tmpfs", "/tmp"),  # noqa: S108
        ]
        for name in ("bin", "sbin", "lib", "lib64"):
            command += ["--symlink", f"usr/{name}", f"/{name}"]
        if network:
            command += ["--share-net"]
            for host_path in (*NAMES, *CERTIFICATES):
                command += ["--ro-bind-try", host_path, host_path]
        for path in readable:
            command += ["--ro-bind", path, path]
        for path in writable:
            command += ["--bind", path, path]
        command += ["--remount-ro", "/"]
        command += ["--chdir", cwd or "/", "--clearenv", "--setenv", "PATH", "/usr/bin:/usr/sbin"]
        return [*command, "--", program, *arguments]
