"""The engine of this process, as the settings name it."""

from functools import cache
from urllib.parse import urlsplit

from builds.conf import build_settings
from builds.engines.base import BuildEngine
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.scripted import ScriptedEngine


@cache
def engine() -> BuildEngine:
    settings = build_settings()
    if settings.engine == "scripted":
        return ScriptedEngine()
    own = {settings.registry} if settings.registry_insecure else set[str]()
    return BuildKitEngine(
        EngineSettings(
            root=settings.data_dir / "engine",
            engine_root=settings.engine_root.path,
            helper_socket=settings.data_dir / "run/helper.sock",
            slots=settings.workers,
            cache_bytes=settings.limits.disk_bytes,
            mirrors=settings.registry_mirrors,
            insecure_registries=settings.insecure_registries | own,
            private_registries=settings.private_registries,
            own_endpoints=frozenset({settings.registry, urlsplit(settings.token_realm).netloc}),
            auth_file=settings.registry_auth,
            auth_registries=settings.registry_auth_bases,
            allowed_bases=settings.allowed_bases,
            base_refresh_seconds=settings.base_refresh_seconds,
        )
    )
