"""What the doctor says of a machine, and when it says that nothing will be built."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from builds.conf import BuildSettings
from builds.engines.base import Problem
from builds.engines.scripted import ScriptedEngine
from builds.own_engine import engine
from config import health, reports

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
    monkeypatch.setattr(reports, "find_spec", lambda _: None)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("doctor", stdout=out)
    assert "STOP  settings  SENTRY_DSN is set, and sentry-sdk is not installed." in out.getvalue()
    assert "ok    engine" in out.getvalue()
