"""The registry as the worker sees it: images go in by skopeo, tags and digests over its API."""

from uuid import UUID

from builds.conf import BuildSettings
from builds.registry.auth import Identity, RegistryError, read_credentials
from builds.registry.client import Registry
from builds.registry.push import PushFailed
from builds.registry.tokens import WORKER, Signer, signer

__all__ = ["PushFailed", "Registry", "RegistryError", "make_registry", "make_signer"]


def make_signer(settings: BuildSettings) -> Signer:
    """Of the deployment's tokens."""
    return signer(settings.token_secret, settings.token_realm)


def make_registry(settings: BuildSettings, *, owner_id: UUID | None = None) -> Registry:
    """The one that images are pushed to. Cheap, and safe to share between threads.

    It is spoken to as a worker; or as a build of that owner, who may pull what they may see, and
    for whom the operator's credentials are never used.
    """
    signer = make_signer(settings)
    if owner_id is not None:
        subject = f"owner:{owner_id}"
        return Registry(
            settings.registry,
            engine_root=settings.engine_root,
            insecure=settings.registry_insecure,
            identity=Identity(signer, subject, settings.deadline_seconds),
        )
    return Registry(
        settings.registry,
        engine_root=settings.engine_root,
        insecure=settings.registry_insecure,
        auth_file=settings.registry_auth,
        credentials=read_credentials(settings.registry_auth),
        identity=Identity(signer, WORKER, settings.deadline_seconds),
    )
