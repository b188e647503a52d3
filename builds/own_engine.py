"""The engine of this process, as the settings name it."""

from functools import cache

from builds.conf import build_settings
from builds.engines.base import BuildEngine
from builds.engines.buildah import BuildahEngine
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.scripted import ScriptedEngine


@cache
def engine() -> BuildEngine:
    settings = build_settings()
    if settings.engine == "scripted":
        return ScriptedEngine()
    own = {settings.registry} if settings.registry_insecure else set[str]()
    return BuildahEngine(
        EngineSettings(
            root=settings.data_dir / "engine",
            mirrors=settings.registry_mirrors,
            insecure_registries=frozenset(own),
            auth_file=settings.registry_auth,
            base_refresh_seconds=settings.base_refresh_seconds,
        )
    )
