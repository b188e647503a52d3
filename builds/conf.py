"""Typed settings of builds: `settings.BUILDS`."""

from dataclasses import dataclass, field
from pathlib import Path

from builds.build_spec import Limits
from builds.engine_root import EngineRoot

TRIAL = "trial-"
"""Prefix of work folders that belong to no build in the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """Settings of builds. Read once from the environment by config/settings.py."""

    version: str
    """Version of Slipway."""
    engine: str
    data_dir: Path
    engine_root: EngineRoot
    network: bool
    limits: Limits
    disk_budget_bytes: int
    """Disk space for Slipway on one machine; 0 means the size of the file system."""
    free_disk_bytes: int
    """Caches are removed when less disk space than this is free."""
    min_disk_bytes: int
    """A worker with less free disk space takes no builds."""
    deadline_seconds: int
    grace_seconds: int
    """How many seconds running builds may continue after SIGTERM."""
    daily_builds: int
    owner_builds: int | None
    """Maximum number of concurrent builds per owner; None means no limit."""
    worker_classes: tuple[str, ...]
    """Resource classes whose builds this process takes; empty means all."""
    base_refresh_seconds: int
    storage_mb: int = 0
    """Registry space for an owner's images in MiB; 0 means no limit."""
    workers: int
    redis_url: str
    registry: str
    """host[:port] of the registry that images are pushed to; part of their names."""
    registry_insecure: bool
    registry_auth: Path | None
    registry_mirrors: tuple[tuple[str, str], ...]
    registry_auth_bases: frozenset[str] = frozenset()
    """Hosts whose base images are pulled with the credentials in `registry_auth`."""
    private_registries: frozenset[str] = frozenset()
    """Registries and token servers that may have a private address."""
    insecure_registries: frozenset[str] = frozenset()
    """Hosts that are contacted over plain HTTP, or without verifying the certificate."""
    allowed_bases: tuple[str, ...] = ()
    """Patterns of references that FROM may name; empty allows all."""
    registry_guarded: bool
    """Whether Slipway's gateway in front of the registry authorizes every request."""
    token_realm: str
    """URL where registries send clients for tokens."""
    token_secret: str = field(repr=False)
    keep_files_days: int = 7
    """How long stored files without a database row are kept. Longer than the age of a usable
    backup."""
    lease_seconds: int = 20
    tick_seconds: int = 5
    """Interval of the housekeeping; much shorter than the lease."""

    @property
    def work_folder(self) -> Path:
        """Contains one folder for each build that runs on this machine."""
        return self.data_dir / "builds"


def build_settings() -> BuildSettings:
    from django.conf import settings  # noqa: PLC0415  (the frozen value itself needs no Django)

    return settings.BUILDS
