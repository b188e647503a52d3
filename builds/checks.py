"""Django system checks of the settings for builds."""

from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

from builds.conf import BuildSettings, build_settings
from builds.engines.base_images.addresses import endpoints
from builds.engines.base_images.registries import is_pattern
from builds.registry.auth import AuthFileError, read_credentials
from storage.interface import files


@register(Tags.compatibility)
def check_builds(**_: Any) -> list[CheckMessage]:
    """Settings with which no build could run."""
    settings = build_settings()
    found: list[CheckMessage] = []
    if settings.workers < 1:
        found.append(
            Error(
                "No build would ever run: SLIPWAY_WORKERS is 0.",
                hint="Set it to how many builds may run at once.",
                id="builds.E001",
            )
        )
    try:
        read_credentials(settings.registry_auth)
    except AuthFileError as problem:
        found.append(
            Error(
                f"SLIPWAY_REGISTRY_AUTH cannot be used: {problem}.",
                hint="Name a file as `docker login` writes it, or leave the variable out.",
                id="builds.E002",
            )
        )
    if settings.deadline_seconds < 1:
        found.append(
            Error(
                "Every build would fail at once: SLIPWAY_DEADLINE is 0.",
                hint="Set it to the seconds that a build may take.",
                id="builds.E003",
            )
        )
    if not all(name and mirror for name, mirror in settings.registry_mirrors):
        found.append(
            Error(
                "SLIPWAY_REGISTRY_MIRRORS has an entry without '='.",
                hint="Write each as registry=mirror, such as docker.io=mirror.example:5000.",
                id="builds.E004",
            )
        )
    if settings.registry in {mirror for _, mirror in settings.registry_mirrors}:
        found.append(
            Error(
                f"SLIPWAY_REGISTRY_MIRRORS leads to {settings.registry}, where private images are.",
                hint="Name another registry, or a path in this one, such as docker.io=HOST/hub.",
                id="builds.E005",
            )
        )
    return found + _check_registries(settings)


def _check_registries(settings: BuildSettings) -> list[CheckMessage]:
    """Settings about the sources of base images."""
    found: list[CheckMessage] = []
    for variable, hosts in (
        ("SLIPWAY_REGISTRY_AUTH_BASES", settings.registry_auth_bases),
        ("SLIPWAY_PRIVATE_REGISTRIES", settings.private_registries),
        ("SLIPWAY_INSECURE_REGISTRIES", settings.insecure_registries),
    ):
        wrong = sorted(host for host in hosts if not endpoints(host))
        if wrong:
            found.append(
                Error(
                    f"{variable} names no host: {', '.join(wrong)}.",
                    hint="Write each as host or host:port, without https:// and without a path.",
                    id="builds.E006",
                )
            )
    wrong = [pattern for pattern in settings.allowed_bases if not is_pattern(pattern)]
    if wrong:
        found.append(
            Error(
                f"SLIPWAY_ALLOWED_BASES has patterns that fit no image: {', '.join(wrong)}.",
                hint="Begin each with a host, such as docker.io/library/* or registry.example/**.",
                id="builds.E007",
            )
        )
    if settings.registry_auth_bases and settings.registry_auth is None:
        found.append(
            Error(
                "SLIPWAY_REGISTRY_AUTH_BASES is set, and SLIPWAY_REGISTRY_AUTH is not.",
                hint="Name a file with credentials, or leave the first out.",
                id="builds.E008",
            )
        )
    return found


@register(Tags.security, deploy=True)
def check_builds_in_public(**_: Any) -> list[CheckMessage]:
    """Settings that are unsafe on a public instance."""
    settings = build_settings()
    if settings.registry_insecure:
        return [
            checks.Warning(
                f"Images are pushed to {settings.registry} in plain HTTP.",
                hint="Set SLIPWAY_REGISTRY to a registry that speaks TLS.",
                id="builds.W001",
            )
        ]
    return []


@register(Tags.compatibility, deploy=True)
def check_machines(**_: Any) -> list[CheckMessage]:
    """Settings that several machines need to work together."""
    if not build_settings().redis_url or files().shared:
        return []
    return [
        checks.Warning(
            "REDIS_URL is set and SLIPWAY_STORAGE is not: a machine cannot read what another "
            "took in.",
            hint="Name a bucket; or silence builds.W002 where all processes share one folder.",
            id="builds.W002",
        )
    ]
