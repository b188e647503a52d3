"""Client of the registry that workers use: images, tags and digests over the distribution API."""

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
    """The signer of this deployment's registry tokens."""
    return signer(settings.token_secret, settings.token_realm)


def make_registry(settings: BuildSettings, *, owner_id: UUID | None = None) -> Registry:
    """A client of the registry that images are pushed to. Cheap to create, and thread-safe.

    By default it has the worker's identity. With `owner_id` it acts for a build of that owner: it
    may only pull what the owner may see, and never uses the operator's credentials.
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
    """Ask the function that `settings.BUILDS_PULL_RIGHTS` names, which knows the owners of
    repositories."""
    return bool(import_string(django_settings.BUILDS_PULL_RIGHTS)(owner_id, repository))
