"""How programs of the engine root are run: in a sandbox of their own that sees only what it needs.

The engine root is a small Debian that Slipway made for itself; nothing of the host's programs and
settings is seen. Namespaces are made without privileges, by bubblewrap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
TEMPORARY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What a program sees beside its root: host paths by the path that each has in the sandbox."""

    readable: Mapping[str, Path] = field(default_factory=dict)
    writable: Mapping[str, Path] = field(default_factory=dict)


def command(
    engine_root: Path,
    argv: Sequence[str | Path],
    *,
    show: Show,
    network: bool,
    env: Mapping[str, str],
    cwd: str = "/",
) -> list[str]:
    """The command line that runs `argv` of the engine root in a sandbox.

    `network` is the caller's network or none at all. The environment is `env` and PATH.
    """
    arguments = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session"]
    if network:
        arguments += ["--share-net"]
    arguments += ["--ro-bind", str(engine_root / "usr"), "/usr"]
    for name, target in LINKS.items():
        arguments += ["--symlink", target, f"/{name}"]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    arguments += ["--size", str(TEMPORARY_BYTES), "--tmpfs", "/tmp"]  # noqa: S108
    for path, shown in show.readable.items():
        arguments += ["--ro-bind", str(shown), path]
    for path, shown in show.writable.items():
        arguments += ["--bind", str(shown), path]
    arguments += ["--remount-ro", "/", "--chdir", cwd, "--clearenv"]
    for key, value in {"PATH": "/usr/bin:/usr/sbin", **env}.items():
        arguments += ["--setenv", key, value]
    return [*arguments, "--", *map(str, argv)]
