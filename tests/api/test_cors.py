"""Pages of other origins: those that operators name may call the API, with a key."""

from typing import Any

import pytest
from django.test import Client

CI = "https://ci.example.com"
ASKS: Any = {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"}
pytestmark = pytest.mark.django_db


@pytest.fixture
def named(settings: Any) -> None:
    settings.CORS_ORIGINS = (CI,)


def allowed(answer: Any) -> str | None:
    found: str | None = answer.headers.get("Access-Control-Allow-Origin")
    return found


def test_without_configuration_nobody_may(client: Client) -> None:
    for answer in (
        client.get("/ping", HTTP_ORIGIN=CI),
        client.options("/images/", HTTP_ORIGIN=CI, **ASKS),
    ):
        assert allowed(answer) is None


def test_an_origin_that_is_named_may(client: Client, named: None) -> None:
    answer = client.get("/images/", HTTP_ORIGIN=CI)
    assert (answer.status_code, allowed(answer)) == (401, CI)
    assert "Link" in answer.headers["Access-Control-Expose-Headers"]
    assert "Origin" in answer.headers["Vary"]
    before = client.options("/images/", HTTP_ORIGIN=CI, **ASKS)
    assert (before.status_code, allowed(before), before.content) == (204, CI, b"")
    assert "PATCH" in before.headers["Access-Control-Allow-Methods"]
    assert "Idempotency-Key" in before.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{CI}.evil.example", "http://ci.example.com", "null", ""]
)
def test_others_may_not(client: Client, named: None, origin: str) -> None:
    assert allowed(client.get("/ping", HTTP_ORIGIN=origin)) is None
    before = client.options("/images/", HTTP_ORIGIN=origin, **ASKS)
    assert allowed(before) is None
    assert before.status_code == 405


@pytest.mark.parametrize("origins", [(CI,), ("*",)])
def test_cookies_are_never_asked_for(client: Client, settings: Any, origins: Any) -> None:
    settings.CORS_ORIGINS = origins
    for answer in (
        client.get("/ping", HTTP_ORIGIN=CI),
        client.options("/images/", HTTP_ORIGIN=CI, **ASKS),
    ):
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert allowed(answer) == (CI if origins == (CI,) else "*")


@pytest.mark.parametrize("path", ["/", "/sign-in", "/admin/", "/metrics"])
def test_pages_are_not_part_of_it(
    client: Client, named: None, uncollected: None, path: str
) -> None:
    assert allowed(client.get(path, HTTP_ORIGIN=CI)) is None
