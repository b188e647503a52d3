"""Base images in Slipway's own registry: check whether the build's owner may pull them."""

from dataclasses import replace

from builds.build_spec import BuildSpec
from builds.conf import BuildSettings
from builds.registry import Registry, RegistryError, make_registry

DEFAULT_PORTS = (":443", ":80")
TOKEN_SECONDS = 1_800
"""Longer than fetching the base images of a build may take."""


class BaseRefused(Exception):
    """The base image does not exist, or the build's owner may not pull it. The message names it."""


def find_own_bases(spec: BuildSpec, settings: BuildSettings) -> BuildSpec:
    """Mark base images in Slipway's registry as private, and add a token of the owner to pull them.

    Rights are checked for every build, so an image that became private is refused from then on.
    Raises BaseRefused, or RegistryError if the registry fails.
    """
    bases = spec.dockerfile.bases
    if not any(_is_own(base.reference, settings.registry) for base in bases):
        return spec
    registry = make_registry(settings, owner_id=spec.owner_id)
    marked = tuple(
        replace(base, private=True, digest=_digest_of(registry, base.reference))
        if _is_own(base.reference, settings.registry)
        else base
        for base in bases
    )
    return replace(
        spec,
        dockerfile=replace(spec.dockerfile, bases=marked),
        registry_token=registry.token_to_pull(
            {_name_of(base.reference)[0] for base in marked if base.private},
            seconds=TOKEN_SECONDS,
        ),
    )


def _digest_of(registry: Registry, reference: str) -> str:
    repository, version = _name_of(reference)
    try:
        digest = registry.digest_of(repository, version)
    except RegistryError as problem:
        if problem.status not in {401, 403}:
            raise
        digest = None
    if digest is None:
        raise BaseRefused(
            f"The base image {reference} does not exist, or is private to somebody else."
        )
    return digest


def _name_of(reference: str) -> tuple[str, str]:
    """Repository, and tag or digest."""
    name = reference.partition("/")[2]
    repository, at, version = name.partition("@")
    if not at:
        repository, _, version = name.rpartition(":")
    return repository, version


def _is_own(reference: str, host: str) -> bool:
    return _plain(reference.partition("/")[0]) == _plain(host)


def _plain(host: str) -> str:
    host = host.lower()
    for port in DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host
