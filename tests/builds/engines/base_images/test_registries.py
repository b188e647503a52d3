import json
from pathlib import Path
from typing import Any

import pytest

from builds.engines.base import EngineBroken
from builds.engines.base_images.manifest import NotUsable
from builds.engines.base_images.registries import (
    RegistryRules,
    is_pattern,
    matches,
    split_reference,
)
from builds.engines.sandbox.settings import EngineSettings


def rules(**values: Any) -> RegistryRules:
    return RegistryRules(EngineSettings(root=Path("/nowhere"), **values))


@pytest.mark.parametrize(
    ("pattern", "reference", "covers"),
    [
        ("docker.io/library/*", "docker.io/library/python:3.12", True),
        ("docker.io/library/*", "docker.io/library/python@sha256:" + "a" * 64, True),
        ("docker.io/library/*", "docker.io/other/python:3.12", False),
        ("docker.io/library/*", "docker.io/library/a/b:1", False),
        ("docker.io/*", "docker.io/library/python:1", False),
        ("r.test/team/**", "r.test/team/a/b:1", True),
        ("r.test/team/**", "r.test/team2/a:1", False),
        ("r.test/team/**", "r.test:5000/team/a:1", False),
        ("r.test:5000/**", "r.test:5000/team/a:1", True),
        ("*.r.test/**", "evil.test/a.r.test/b:1", False),
        ("docker.io/library/python:3.*", "docker.io/library/python:3.12", True),
        ("docker.io/library/python:3.*", "docker.io/library/python:2", False),
        ("docker.io/library/python:3.*", "docker.io/library/python@sha256:" + "3" * 64, False),
        ("**", "any.test/a/b/c:1", True),
        ("/".join(["**"] * 40) + "/x", "r.test/" + "/".join("a" * 100) + ":1", False),
    ],
)
def test_patterns(pattern: str, reference: str, *, covers: bool) -> None:
    assert matches(pattern, reference) is covers


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("docker.io/library/*", True),
        ("r.test:5000/team/**", True),
        ("localhost/a", True),
        ("docker.io/library/python:3.*", True),
        ("**", True),
        ("*.test/**", True),
        ("python", False),
        ("library/python", False),
        ("docker.io", False),
        ("https://docker.io/a", False),
        ("docker.io/A", False),
        ("docker.io/a@sha256:0", False),
        ("", False),
    ],
)
def test_patterns_that_fit_no_image_are_known(text: str, *, fits: bool) -> None:
    assert is_pattern(text) is fits


def test_a_port_is_no_tag() -> None:
    assert split_reference("r.test:5000/a:1") == ("r.test:5000/a", "1")
    assert split_reference("r.test:5000/a@sha256:b") == ("r.test:5000/a", "sha256:b")
    assert split_reference("r.test:5000/a") == ("r.test:5000/a", "")


def test_what_is_allowed_is_said_to_whoever_asks_for_something_else() -> None:
    few = rules(allowed_bases=("docker.io/library/*", "r.test/**"))
    few.check_allowed("docker.io/library/python:1")
    with pytest.raises(NotUsable, match=r"allowed here: docker\.io/library/\*, r\.test/\*\*$"):
        few.check_allowed("docker.io/evil/python:1")
    rules().check_allowed("anywhere.test/a:1")


def test_a_registry_that_nobody_configured_reaches_nothing_private() -> None:
    known = rules(
        private_registries=frozenset({"lan.test:5000", "tokens.test"}),
        insecure_registries=frozenset({"plain.test:80"}),
        mirrors=(("docker.io", "mirror.test:5000/hub"), ("docker.io/team", "other.test:1")),
    )
    tokens = {("tokens.test", 443), ("tokens.test", 80)}
    lan = {("lan.test", 5000), *tokens}
    assert known.endpoints("evil.test/a:1") == frozenset()
    assert known.endpoints("plain.test:80/a:1") == {("plain.test", 80)}
    assert known.endpoints("lan.test:5000/a:1") == lan
    assert known.endpoints("docker.io/library/a:1") == {("mirror.test", 5000), *lan}
    assert ("other.test", 1) not in known.endpoints("docker.io/teams/a:1")
    assert ("other.test", 1) in known.endpoints("docker.io/team/a:1")


def test_an_image_of_our_own_registry_reaches_it_and_its_tokens_only() -> None:
    known = rules(
        own_endpoints=frozenset({"127.0.0.1:8000"}), private_registries=frozenset({"lan.test"})
    )
    found = known.own_endpoints("127.0.0.1:9000/alice/app:1")
    assert found == {("127.0.0.1", 9000), ("127.0.0.1", 8000)}


def credentials(tmp_path: Path, reference: str, auths: Any, *hosts: str) -> dict[str, Any] | None:
    source = tmp_path / "config.json"
    source.write_text(json.dumps({"auths": auths}))
    made = rules(
        auth_file=source,
        auth_registries=frozenset(hosts),
        mirrors=(("docker.io", "mirror.test"),),
    ).write_credentials(reference, tmp_path)
    if made is None:
        return None
    assert made.stat().st_mode & 0o777 == 0o600
    found: dict[str, Any] = json.loads(made.read_text())["auths"]
    return found


AUTHS = {
    "https://index.docker.io/v1/": {"auth": "YTpi"},
    "lan.test:5000": {"username": "c", "password": "d"},
    "mirror.test": {"auth": "ZTpm"},
}


def test_credentials_are_used_where_the_operator_says_and_nowhere_else(tmp_path: Path) -> None:
    hub = "docker.io/team/a:1"
    assert credentials(tmp_path, hub, AUTHS) is None
    assert credentials(tmp_path, hub, AUTHS, "lan.test:5000") is None
    assert credentials(tmp_path, "lan.test:5000/a:1", AUTHS, "docker.io") is None
    assert credentials(tmp_path, hub, AUTHS, "docker.io") == {"docker.io": {"auth": "YTpi"}}
    both = credentials(tmp_path, hub, AUTHS, "docker.io", "mirror.test", "lan.test:5000")
    assert both is not None
    assert set(both) == {"docker.io", "mirror.test"}
    lan = credentials(tmp_path, "lan.test:5000/a:1", AUTHS, "lan.test:5000")
    assert lan == {"lan.test:5000": {"auth": "Yzpk"}}


@pytest.mark.parametrize("auths", [None, {"a.test": {"auth": "not base64!"}}, {"a.test": "x"}])
def test_a_file_that_cannot_be_read_is_the_operators_fault(tmp_path: Path, auths: Any) -> None:
    with pytest.raises(EngineBroken, match="SLIPWAY_REGISTRY_AUTH cannot be read") as broken:
        credentials(tmp_path, "a.test/a:1", auths, "a.test")
    assert str(tmp_path) not in str(broken.value)
