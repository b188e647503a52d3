"""The registry as the worker sees it: images, tags and digests over the distribution API."""

from functools import partial
from uuid import UUID

from django.conf import settings as django_settings
from django.utils.module_loading import import_string

from builds.conf import BuildSettings
from builds.registry.auth import Identity, RegistryError, read_credentials
from builds.registry.client import Registry
from builds.registry.push import Manifest, PushFailed
from builds.registry.tokens import WORKER, Signer, signer

__all__ = ["Manifest", "PushFailed", "Registry", "RegistryError", "make_registry", "make_signer"]


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
            insecure=settings.registry_insecure,
            identity=Identity(signer, subject, partial(_may_pull, owner_id)),
        )
    return Registry(
        settings.registry,
        insecure=settings.registry_insecure,
        credentials=read_credentials(settings.registry_auth),
        identity=Identity(signer, WORKER),
    )


def _may_pull(owner_id: UUID, repository: str) -> bool:
    """What `settings.BUILDS_PULL_RIGHTS` names decides: whoever has targets knows their owners."""
    return bool(import_string(django_settings.BUILDS_PULL_RIGHTS)(owner_id, repository))
