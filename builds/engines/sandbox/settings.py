"""The settings of an engine. They are fixed at start."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings of one engine on one machine. Two engines must not share a `root`."""

    root: Path
    """Folder for base images, outputs and sockets. It may be below a folder with mode 0700."""
    engine_root: Path = Path("/nonexistent")
    """The root file system with BuildKit, skopeo and git. Read-only."""
    helper_socket: Path = Path("/nonexistent")
    """Unix socket of the helper that starts builders."""
    slots: int = 2
    """Number of parallel builds."""
    warm_seconds: float = 120.0
    """How long an idle builder is kept for its owner."""
    cache_bytes: int = 20 << 30
    """Size of each cache, if the machine supports cache images (file systems in files)."""
    mirrors: tuple[tuple[str, str], ...] = ()
    """Pairs of a registry and its mirror, such as ("docker.io", "mirror:5000")."""
    insecure_registries: frozenset[str] = frozenset()
    """Hosts (`host` or `host:port`) that may use plain HTTP or an untrusted certificate."""
    private_registries: frozenset[str] = frozenset()
    """Hosts, of registries or token servers, that may have a private address."""
    own_endpoints: frozenset[str] = frozenset()
    """Hosts of Slipway's own registry, including its token server."""
    auth_file: Path | None = None
    """Credentials for registries, in the format of containers-auth.json(5). Not visible in a
    build's sandbox."""
    auth_registries: frozenset[str] = frozenset()
    """Hosts for which base images are fetched with these credentials."""
    allowed_bases: tuple[str, ...] = ()
    """Patterns of references that FROM may name. Empty allows all."""
    deny: tuple[str, ...] = ()
    """IPv4 networks that RUN may not reach, besides private ones and the host's addresses."""
    base_refresh_seconds: float = 600.0
    """How long a base counts as fresh before its registry is asked again."""
    base_timeout_seconds: float = 900.0
    """Time limit for fetching one base. Waiting for another build's fetch does not count."""
    base_max_bytes: int = 20 << 30
    """Compressed size limit of one base."""
    base_max_layers: int = 500
    reserve_bytes: int = 1 << 30
    """Disk space that must stay free: a build that would use it is ended."""
