"""The description and its page: whole, for anybody, and loaded from nowhere else."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from api.openapi import description
from tests.instance import ROOT, Instance


@pytest.fixture(scope="module")
def anybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("openapi") / "data"
    with (
        Instance(folder, engine="scripted") as running,
        httpx.Client(base_url=running.url, trust_env=False) as client,
    ):
        yield client


def operations() -> dict[str, Any]:
    return {
        f"{method} {path}": operation
        for path, methods in description()["paths"].items()
        for method, operation in methods.items()
    }


def views(patterns: Any) -> Iterator[Any]:
    for each in patterns:
        if isinstance(each, URLResolver):
            if each.app_name != "admin":
                yield from views(each.url_patterns)
        elif isinstance(each, URLPattern):
            yield each.callback


def test_the_description_needs_no_credentials(anybody: httpx.Client) -> None:
    answer = anybody.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    told, expected = answer.json(), description()
    for each in (told, expected):  # with addresses of their own
        del each["servers"], each["info"]["contact"]
    assert told == expected


def test_the_description_is_valid_and_nothing_in_it_was_guessed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True)
    assert "openapi: 3.1" in capsys.readouterr().out


def test_every_method_of_every_address_is_described() -> None:
    known = {(operation["operationId"]) for operation in operations().values()}
    assert len(known) == len(operations())
    bound = [
        action
        for view in views(get_resolver().url_patterns)
        for method, action in getattr(view, "actions", {}).items()
        if method != "head"
    ]
    assert len(bound) == len(operations()) + 2  # the description and its page are not described


def test_every_operation_says_what_refusals_look_like() -> None:
    for name, operation in operations().items():
        answers = operation["responses"]
        open_to_all = operation.get("security") == [{}]
        assert open_to_all or "401" in answers, name
        assert "{" not in name or "404" in answers, name
        assert "requestBody" not in operation or {"400", "413", "415", "422"} <= set(answers), name
        for status, answer in answers.items():
            if status in {"204", "302", "304"}:
                assert "content" not in answer
            else:
                assert answer["content"], (name, status)
    assert "Retry-After" in operations()["post /images/"]["responses"]["429"]["headers"]


def test_the_form_of_an_order_has_every_field_in_its_order() -> None:
    form = operations()["post /images/"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"] == {"$ref": "#/components/schemas/OrderRequest"}
    order = description()["components"]["schemas"]["OrderRequest"]
    expected = "wait build_context username name readme logo_id tag dockerfile image public"
    assert list(order["properties"]) == [
        *expected.split(), "build_args", "target", "no_cache", "pull", "labels",
        "resource_class", "dockerfile_path", "replace",
    ]  # fmt: skip
    assert set(order["required"]) == {"name", "tag"}


def test_logs_are_described_as_events_and_as_text() -> None:
    answers = operations()["get /images/{ref}/logs"]["responses"]
    assert set(answers["200"]["content"]) == {"text/event-stream", "text/plain"}
    assert {"204", "206", "304", "416"} <= set(answers)


def test_every_form_of_credentials_is_described() -> None:
    schemes = description()["components"]["securitySchemes"]
    assert set(schemes) == {"Bearer", "Hotkey", "Nonce", "Signature", "Session"}
    signed: dict[str, list[str]] = {"Hotkey": [], "Nonce": [], "Signature": []}
    assert operations()["get /images/"]["security"] == [{"Bearer": []}, signed, {"Session": []}]
    assert {} in operations()["get /images/{ref}/logs"]["security"]


def test_the_page_loads_everything_from_here(anybody: httpx.Client) -> None:
    page = anybody.get("/docs")
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "style=" not in page.text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for address in loaded:
        assert address.startswith("/static/")
        assert anybody.get(address).status_code == 200
    assert "http" not in (ROOT / "static" / "docs.js").read_text()
