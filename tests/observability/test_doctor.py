"""What the doctor says of a machine, and when it says that nothing will be built."""

import os
import time
from collections.abc import Generator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from builds.build_spec import BuildEvent, BuildOutcome, BuildSpec, StepOutput
from builds.conf import BuildSettings
from builds.engine_factory import engine
from builds.engine_root import PACKAGES, EngineRoot
from builds.engines.base import EngineBroken, Problem
from builds.engines.scripted import ScriptedEngine
from observability import doctor, engine_updates, health, telemetry

pytestmark = pytest.mark.django_db(transaction=True)


def told() -> str:
    out = StringIO()
    call_command("doctor", stdout=out)
    return out.getvalue()


def test_a_sound_machine_is_told_part_by_part(deployment: BuildSettings) -> None:
    said = told()
    for part in ("settings", "kernel", "user", "disk", "engine", "database", "queue", "storage"):
        assert f"ok    {part}" in said
    assert f"{deployment.registry}" in said
    assert "user namespaces" in said
    assert said.endswith("Nothing stops builds.\n")


@pytest.mark.parametrize("fatal", [True, False])
def test_what_the_engine_misses_is_said_with_what_to_do(
    deployment: BuildSettings, monkeypatch: pytest.MonkeyPatch, *, fatal: bool
) -> None:
    problem = Problem(code="x", text="runc is not installed", hint="install it", fatal=fatal)
    monkeypatch.setattr(ScriptedEngine, "problems", lambda _: [problem])
    engine.cache_clear()
    out = StringIO()
    if fatal:
        with pytest.raises(CommandError, match="1 of these stop builds"):
            call_command("doctor", stdout=out)
    else:
        call_command("doctor", stdout=out)
    mark = "STOP" if fatal else "note"
    assert f"{mark}  engine    runc is not installed\n                install it" in out.getvalue()


def test_a_dependency_that_does_not_answer_stops_builds(
    deployment: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise ConnectionError("refused")

    monkeypatch.setitem(health.CHECKS, "queue", away)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("doctor", stdout=out)
    assert "STOP  queue     ConnectionError: refused" in out.getvalue()
    assert "REDIS_URL" in out.getvalue()


def test_settings_that_cannot_be_used_are_told_with_the_rest(
    deployment: BuildSettings, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SENTRY_DSN = "https://key@errors.example/1"
    monkeypatch.setattr(telemetry, "find_spec", lambda _: None)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("doctor", stdout=out)
    assert "STOP  settings  SENTRY_DSN is set, and sentry-sdk is not installed." in out.getvalue()
    assert "ok    engine" in out.getvalue()


def test_a_build_that_fails_stops_builds_and_says_why(
    deployment: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_: ScriptedEngine, spec: BuildSpec) -> Generator[BuildEvent, None, BuildOutcome]:
        yield StepOutput("stdout", b"")
        assert (spec.context / "busybox").stat().st_mode & 0o111
        raise EngineBroken("the sandbox did not start", code="sandbox")

    monkeypatch.setattr(ScriptedEngine, "build", build)
    out = StringIO()
    with pytest.raises(CommandError, match="1 of these stop builds"):
        call_command("doctor", stdout=out)
    said = "STOP  engine    scripted did not build a tiny image: the sandbox did not start"
    assert said in out.getvalue()
    assert list((deployment.data_dir / "builds").iterdir()) == []


def test_without_an_engine_root_nothing_is_built(
    deployment: BuildSettings, settings: Any, tmp_path: Path
) -> None:
    settings.BUILDS = replace(deployment, engine_root=EngineRoot(tmp_path / "none"))
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("doctor", stdout=out)
    assert "STOP  packages  there is no engine root" in out.getvalue()


@pytest.fixture(autouse=True)
def debian(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Debian has in newer versions: each question takes the first, and none is nothing."""
    answers: list[str] = []

    def ask(_: str) -> list[str]:
        answer = answers.pop(0) if answers else ""
        if answer == "away":
            raise engine_updates.NotKnown("the mirror could not be asked")
        return answer.split()

    monkeypatch.setattr(engine_updates, "_ask", ask)
    return answers


def test_newer_packages_are_named_and_asked_for_once_a_day(
    deployment: BuildSettings, debian: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    debian += ["git runc", ""]
    for _ in range(2):
        said = told()
        assert "note  packages  engine root of" in said
        assert "2 of them out of date" in said
        assert "`make engine` renews it: Debian has newer versions of git, runc" in said
    later = time.time() + engine_updates.FRESH_SECONDS + 1
    monkeypatch.setattr(engine_updates.time, "time", lambda: later)
    assert "ok    packages" in told()
    assert debian == []


def test_what_was_asked_of_one_engine_root_says_nothing_of_the_next(
    deployment: BuildSettings, debian: list[str], settings: Any, tmp_path: Path
) -> None:
    debian += ["git", ""]
    assert "newer versions of git" in told()
    tree = tmp_path / "new"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/busybox").touch()
    (tree / PACKAGES).write_text("git 1:3\n")
    settings.BUILDS = replace(deployment, engine_root=EngineRoot(tree))
    assert "1 packages of Debian 13, none of them with a newer version" in told()


@pytest.mark.parametrize("days", [1, 31])
def test_where_debian_is_away_the_age_is_told(
    deployment: BuildSettings, debian: list[str], settings: Any, tmp_path: Path, days: int
) -> None:
    debian += ["away"]
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/busybox").touch()
    (tree / PACKAGES).write_text("git 1:3\n")
    made = time.time() - days * 86_400
    os.utime(tree / PACKAGES, (made, made))
    settings.BUILDS = replace(deployment, engine_root=EngineRoot(tree))
    said = told()
    assert "newer versions: the mirror could not be asked" in said
    assert ("note  packages" in said) is (days == 31)
    assert ("it is 31 days old: `make engine` renews it" in said) is (days == 31)


@pytest.mark.parametrize(
    ("name", "value", "told_of"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", True),
        ("kernel/apparmor_restrict_unprivileged_userns", "0", False),
        ("user/max_user_namespaces", "0", True),
    ],
)
def test_settings_of_the_kernel_that_forbid_sandboxes_are_named(
    deployment: BuildSettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    value: str,
    *,
    told_of: bool,
) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{value}\n")
    monkeypatch.setattr(doctor, "SYSCTL", tmp_path)
    dotted = name.replace("/", ".")
    assert (f"sysctl -w {dotted}=" in told()) is told_of
