"""What an engine is told about the machine it works on, once, at start."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """One engine on one machine. Two engines never share a `root`."""

    root: Path
    """Where base images, outputs and sockets live. May lie below a 0700 folder."""
    engine_root: Path
    """The root file system with BuildKit, skopeo and git. Only read."""
    helper_socket: Path
    """Where the helper process that starts builders listens."""
    slots: int = 2
    """Builds that run at once."""
    warm_seconds: float = 120.0
    """How long a builder that nobody uses is kept for its owner."""
    cache_bytes: int = 20 << 30
    """The size of an owner's cache, where the machine allows a file system image for it."""
    mirrors: tuple[tuple[str, str], ...] = ()
    """Pairs of a registry and the one to ask instead, such as ("docker.io", "mirror:5000")."""
    insecure_registries: frozenset[str] = frozenset()
    """Hosts (`host` or `host:port`) spoken to in plain HTTP or without a known certificate."""
    trusted_registries: frozenset[str] = frozenset()
    """Hosts that bases may come from although they stand at a private address."""
    auth_file: Path | None = None
    """Credentials for private bases, in the containers' auth.json form. Never behind the wall, and
    never for an order's own bases."""
    deny: tuple[str, ...] = ()
    """IPv4 networks that RUN may not reach, beside every private one and the host's addresses."""
    base_refresh_seconds: float = 600.0
    """How long a base counts as fresh before its registry is asked again."""
    base_timeout_seconds: float = 900.0
    reserve_bytes: int = 1 << 30
    """Free disk space that is nobody's: a build that would use it is ended."""
