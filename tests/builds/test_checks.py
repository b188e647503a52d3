from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builds import checks
from builds.checks import check_builds, check_builds_in_public, check_machines


def test_the_defaults_are_fine() -> None:
    assert check_builds() == []


@pytest.mark.parametrize(
    ("wrong", "identity"),
    [
        ({"workers": 0}, "builds.E001"),
        ({"registry_auth": Path("/nowhere/auth.json")}, "builds.E002"),
        ({"deadline_seconds": 0}, "builds.E003"),
        ({"registry_mirrors": (("docker.io", ""),)}, "builds.E004"),
        (
            {"registry": "r.example", "registry_mirrors": (("docker.io", "r.example"),)},
            "builds.E005",
        ),
        ({"private_registries": frozenset({"https://lan.example"})}, "builds.E006"),
        ({"insecure_registries": frozenset({"lan.example/team"})}, "builds.E006"),
        ({"allowed_bases": ("docker.io/library/*", "python")}, "builds.E007"),
        ({"registry_auth_bases": frozenset({"lan.example"})}, "builds.E008"),
    ],
)
def test_settings_that_no_build_could_run_with_are_named(
    settings: Any, wrong: dict[str, Any], identity: str
) -> None:
    settings.BUILDS = replace(settings.BUILDS, **wrong)
    [found] = check_builds()
    assert found.id == identity
    assert found.hint


def test_a_public_instance_is_warned_of_a_registry_without_tls(settings: Any) -> None:
    settings.BUILDS = replace(settings.BUILDS, registry_insecure=True)
    assert [each.id for each in check_builds_in_public()] == ["builds.W001"]
    settings.BUILDS = replace(settings.BUILDS, registry_insecure=False)
    assert check_builds_in_public() == []


def test_machines_that_share_no_files_are_warned_of(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_machines() == []
    settings.BUILDS = replace(settings.BUILDS, redis_url="redis://redis.example/0")
    assert [each.id for each in check_machines()] == ["builds.W002"]
    monkeypatch.setattr(checks, "files", lambda: SimpleNamespace(shared=True))
    assert check_machines() == []
