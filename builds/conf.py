"""What the deployment says about builds, typed: `settings.BUILDS`."""

from dataclasses import dataclass, field
from pathlib import Path

from builds.build_spec import Limits
from builds.engine_root import EngineRoot

TRIAL = "trial-"
"""Begins the name of a work folder that belongs to no build in the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """Read once by config/settings.py from the environment."""

    version: str
    """Slipway's own."""
    engine: str
    data_dir: Path
    engine_root: EngineRoot
    network: bool
    limits: Limits
    disk_budget_bytes: int
    """What a machine's part of Slipway may take; 0 for the size of its file system."""
    free_disk_bytes: int
    """Where less of the disk is free, what is only cache goes."""
    min_disk_bytes: int
    """A worker with less free disk takes no build."""
    deadline_seconds: int
    grace_seconds: int
    """For which running builds go on after SIGTERM."""
    daily_builds: int
    owner_builds: int | None
    """Builds of one owner at once; None for no limit."""
    worker_classes: tuple[str, ...]
    """Resource classes that this process takes; empty for all."""
    base_refresh_seconds: int
    storage_mb: int = 0
    """That an owner's images may take in the registry; 0 for as much as they like."""
    workers: int
    redis_url: str
    registry: str
    """host[:port] that images are pushed to and named by."""
    registry_insecure: bool
    registry_auth: Path | None
    registry_mirrors: tuple[tuple[str, str], ...]
    registry_auth_bases: frozenset[str] = frozenset()
    """Hosts whose base images are pulled with the credentials of `registry_auth`."""
    private_registries: frozenset[str] = frozenset()
    """Hosts, of registries or token servers, that may have a private address."""
    insecure_registries: frozenset[str] = frozenset()
    """Hosts spoken to in plain HTTP or without a known certificate."""
    allowed_bases: tuple[str, ...] = ()
    """Patterns of references that FROM may name; none allows everything."""
    registry_guarded: bool
    """Whether a guard of ours stands before the registry and looks at every request."""
    token_realm: str
    """The address where registries send clients for tokens."""
    token_secret: str = field(repr=False)
    keep_files_days: int = 7
    """For which stored files stay that no row names: longer than a backup may be old."""
    lease_seconds: int = 20
    tick_seconds: int = 5
    """How often the housekeeping looks; well below the lease."""

    @property
    def work_folder(self) -> Path:
        """Holds a folder for each build that runs on this machine."""
        return self.data_dir / "builds"


def build_settings() -> BuildSettings:
    from django.conf import settings  # noqa: PLC0415  (the frozen value itself needs no Django)

    return settings.BUILDS
