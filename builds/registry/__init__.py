"""The registry as the worker sees it: images go in by skopeo, tags and digests over its API."""

from builds.conf import BuildSettings
from builds.registry.auth import RegistryError, read_credentials
from builds.registry.client import Registry
from builds.registry.push import PushFailed

__all__ = ["PushFailed", "Registry", "RegistryError", "make_registry"]


def make_registry(settings: BuildSettings) -> Registry:
    """The one that images are pushed to. Cheap, and safe to share between threads."""
    return Registry(
        settings.registry,
        insecure=settings.registry_insecure,
        auth_file=settings.registry_auth,
        credentials=read_credentials(settings.registry_auth),
    )
