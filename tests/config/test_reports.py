"""Sentry and OpenTelemetry: used where configured, named where they are missing, else untouched."""

import sys
from types import ModuleType
from typing import Any

import pytest

from config import reports


def test_nothing_is_imported_that_is_not_configured() -> None:
    assert reports.check_reports() == []
    reports.start()
    assert "sentry_sdk" not in sys.modules
    assert not any(name.startswith("opentelemetry") for name in sys.modules)


def test_what_is_configured_and_not_installed_is_named_with_the_command(settings: Any) -> None:
    settings.SENTRY_DSN = "https://key@errors.example/1"
    settings.OTEL_ENDPOINT = "http://traces.example:4318"
    found = reports.check_reports()
    assert [each.id for each in found] == ["config.E001", "config.E002"]
    assert all("pip install" in str(each.hint) for each in found)
    reports.start()  # tells the log, and lets the process live


def test_sentry_is_started_with_the_address_and_the_version(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    module: Any = ModuleType("sentry_sdk")
    module.init = given.update
    monkeypatch.setitem(sys.modules, "sentry_sdk", module)
    monkeypatch.setattr(reports, "missing", lambda _: [])
    settings.SENTRY_DSN = "https://key@errors.example/1"
    reports.start()
    assert given == {"dsn": settings.SENTRY_DSN, "release": f"slipway@{settings.VERSION}"}
