"""Create the build engine that the settings name."""

from functools import cache
from pathlib import Path

from builds.conf import BuildSettings, build_settings
from builds.engines.base import BuildEngine
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.helper import Helper
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.scripted import ScriptedEngine


def own_helper() -> Helper | None:
    """The helper that this process's engine needs, or None."""
    settings = build_settings()
    return Helper(_helper_socket(settings)) if settings.engine == "buildkit" else None


@cache
def engine() -> BuildEngine:
    """The engine of this process, created on the first call."""
    settings = build_settings()
    if settings.engine == "scripted":
        return ScriptedEngine()
    own = {settings.registry} if settings.registry_insecure else set[str]()
    return BuildKitEngine(
        EngineSettings(
            root=settings.data_dir / "engine",
            engine_root=settings.engine_root.path,
            helper_socket=_helper_socket(settings),
            slots=settings.workers,
            cache_bytes=settings.limits.disk_bytes,
            mirrors=settings.registry_mirrors,
            insecure_registries=settings.insecure_registries | own,
            private_registries=settings.private_registries,
            own_endpoints=frozenset({settings.registry}),
            auth_file=settings.registry_auth,
            auth_registries=settings.registry_auth_bases,
            allowed_bases=settings.allowed_bases,
            base_refresh_seconds=settings.base_refresh_seconds,
        )
    )


def _helper_socket(settings: BuildSettings) -> Path:
    return settings.data_dir / "run/helper.sock"
