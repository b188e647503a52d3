"""What an engine is told about the machine it works on, once, at start."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """One engine on one machine. Two engines never share a `root`."""

    root: Path
    """Where base images, outputs and sockets live. May lie below a 0700 folder."""
    engine_root: Path = Path("/nonexistent")
    """The root file system with BuildKit, skopeo and git. Only read."""
    helper_socket: Path = Path("/nonexistent")
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
    private_registries: frozenset[str] = frozenset()
    """Hosts, of registries or token servers, that may have a private address."""
    own_endpoints: frozenset[str] = frozenset()
    """Hosts that serve Slipway's own registry, its token server among them."""
    auth_file: Path | None = None
    """Credentials for registries, in the containers' auth.json form. No sandbox of a build sees
    them."""
    auth_registries: frozenset[str] = frozenset()
    """Hosts for which base images are fetched with these credentials."""
    allowed_bases: tuple[str, ...] = ()
    """Patterns of references that FROM may name; none allows everything."""
    deny: tuple[str, ...] = ()
    """IPv4 networks that RUN may not reach, beside every private one and the host's addresses."""
    base_refresh_seconds: float = 600.0
    """How long a base counts as fresh before its registry is asked again."""
    base_timeout_seconds: float = 900.0
    """How long one base may take, waiting for another build that fetches it not counted."""
    base_max_bytes: int = 20 << 30
    """Of one base, compressed."""
    base_max_layers: int = 500
    reserve_bytes: int = 1 << 30
    """Free disk space that is nobody's: a build that would use it is ended."""
