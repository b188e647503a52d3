"""Whatever goes wrong is told in JSON, through the whole server."""

import io
import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client

from accounts.models import ApiKey, ApiKeyQuerySet, User
from api.media_types import JSON_BYTES
from images.models import ImageQuerySet
from tests.conftest import script, zipped
from tests.instance import Instance

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("errors") / "data"
    with Instance(folder, engine="scripted", SLIPWAY_MAX_BODY_MB="32") as running:
        yield running


@pytest.fixture(scope="module")
def client(instance: Instance) -> Iterator[httpx.Client]:
    with instance.client() as client:
        yield client


def form(**values: Any) -> dict[str, Any]:
    return {
        "wait": "false",
        "username": "admin",
        "name": "app",
        "readme": "",
        "logo_id": "",
        "tag": "1",
        "dockerfile": script("echo hello"),
        "image": "",
        "public": "false",
        **values,
    }


def post(client: httpx.Client, **values: Any) -> httpx.Response:
    return client.post("/images/", data=form(**values), files={"build_context": zipped(a_txt="a")})


def refused(answer: httpx.Response, status: int) -> Any:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert list(answer.json()) == ["detail", "code"]
    return answer.json()["detail"]


def test_an_address_that_is_not_there_is_not_found(client: httpx.Client) -> None:
    for path in ("/nothing", "/logos", "/api_keys", "/%00", "/%ff/é"):
        assert refused(client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/images/", {"GET", "HEAD", "POST"}),
        ("OPTIONS", "/images/", {"GET", "HEAD", "POST"}),
        ("POST", "/images/app:1", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("DELETE", "/images/app:1/logs", {"GET", "HEAD"}),
        ("GET", "/images/app:1/cancel", {"POST"}),
        ("GET", "/images/app:1/rebuild", {"POST"}),
        ("GET", "/logos/", {"POST"}),
        ("PATCH", "/api_keys/x", {"GET", "HEAD", "DELETE"}),
        ("POST", "/users/me", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("TRACE", "/openapi.json", {"GET", "HEAD"}),
        ("POST", "/docs", {"GET", "HEAD"}),
    ],
)
def test_a_method_that_is_not_there_is_told_which_are_whoever_asks(
    instance: Instance, client: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    with httpx.Client(base_url=instance.url, trust_env=False) as stranger:
        for asking in (client, stranger):
            answer = asking.request(method, path)
            assert refused(answer, 405) == "Method Not Allowed"
            assert set(re.split(", *", answer.headers["Allow"])) == allowed


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=é"],
)
def test_a_form_that_is_none_is_a_bad_request(client: httpx.Client, content_type: str) -> None:
    headers = {"Content-Type": content_type.encode("latin-1")}
    refused(client.post("/images/", content=b"--x\r\nnonsense", headers=headers), 400)  # type: ignore[arg-type]


def test_a_form_that_breaks_off_names_what_is_missing(client: httpx.Client) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="wait"\r\n\r\nfalse'
    answer = client.post("/images/", content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert answer.json()["detail"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_kind_is_not_taken(client: httpx.Client, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    for path in ("/images/", "/logos/", "/api_keys/"):
        refused(client.post(path, content=b"a=b", headers=headers), 415)
    refused(client.post("/api_keys/", data={"name": "a"}, files={"a": b"b"}), 415)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"name": "\\ud800"}', b"[" * 9999])
def test_json_that_is_none_is_named_in_the_list_form(client: httpx.Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    detail = refused(client.post("/api_keys/", content=body, headers=headers), 422)
    assert {"type", "loc", "msg", "input"} == set(detail[0])


def test_a_long_json_body_is_too_large(client: httpx.Client) -> None:
    body = b'{"name": "' + b"a" * JSON_BYTES + b'"}'
    headers = {"Content-Type": "application/json"}
    refused(client.post("/api_keys/", content=body, headers=headers), 413)


def test_a_long_text_field_is_too_large_and_a_longish_one_is_named(client: httpx.Client) -> None:
    refused(post(client, dockerfile="a" * 9 * MIB), 413)
    [entry] = refused(post(client, dockerfile="a" * (MIB + 1)), 422)
    assert (entry["loc"], entry["type"]) == (["body", "dockerfile"], "string_too_long")
    assert len(entry["input"]) < 1000


def test_a_body_over_the_limit_is_too_large(client: httpx.Client) -> None:
    files = {"build_context": os.urandom(33 * MIB)}
    refused(client.post("/images/", data=form(), files=files), 413)


def test_a_form_with_too_many_fields_is_a_bad_request(client: httpx.Client) -> None:
    many = {f"f{n}": "x" for n in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1)}
    refused(post(client, **many), 400)
    files = [("build_context", (f"f{n}", io.BytesIO(b"x"))) for n in range(101)]
    refused(client.post("/images/", data=form(), files=files), 400)


@pytest.mark.parametrize("field", ["name", "tag", "readme", "dockerfile", "username", "build_args"])
def test_null_characters_and_broken_utf_8_are_named(client: httpx.Client, field: str) -> None:
    [entry, *_] = refused(post(client, **{field: "a\0b"}), 422)
    assert entry["loc"] == ["body", field]
    [entry, *_] = refused(post(client, **{field: b"a\xffb"}), 422)
    assert entry["loc"] == ["body", field]


def test_text_in_the_place_of_a_file_and_a_file_in_that_of_text_are_named(
    client: httpx.Client,
) -> None:
    text = {name: (None, value.encode()) for name, value in form(build_context="zip").items()}
    [entry] = refused(client.post("/images/", files=text), 422)
    assert entry["loc"] == ["body", "build_context"]
    files = {"build_context": zipped(a_txt="a"), "tag": b"a file"}
    values = form()
    del values["tag"]
    [entry] = refused(client.post("/images/", data=values, files=files), 422)
    assert (entry["loc"], entry["type"]) == (["body", "tag"], "string_type")
    assert "a file was sent" in entry["msg"]


@pytest.mark.parametrize("value", ['{"A": "\\u0000"}', '{"A=B": "x"}', '{"-A": "x"}', '{"": "x"}'])
def test_build_arguments_that_no_engine_could_be_given_are_named(
    client: httpx.Client, value: str
) -> None:
    [entry] = refused(post(client, build_args=value), 422)
    assert entry["loc"] == ["body", "build_args"]


@pytest.mark.django_db(transaction=True)
def test_a_crash_answers_with_the_id_that_stands_beside_its_traceback(
    owner: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fall(*args: object) -> None:
        raise RuntimeError("a planted fault")

    _, key = ApiKey.objects.issue(owner, label="laptop")
    monkeypatch.setattr(ApiKeyQuerySet, "revoke", fall)
    client = Client(raise_request_exception=False, HTTP_AUTHORIZATION=key)
    with caplog.at_level(logging.ERROR):
        answer = client.delete("/api_keys/laptop")
    assert answer.status_code == 500
    detail = json.loads(answer.content)["detail"]
    found = re.fullmatch("Internal Server Error ([0-9a-f]{32})", detail)
    assert found
    [record] = caplog.records
    assert found[1] in record.getMessage()
    assert record.exc_info
    assert "a planted fault" in str(record.exc_info[1])
    assert "planted" not in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["delete", "get"])
def test_a_database_that_is_away_is_told_as_something_that_passes(
    owner: User, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def away(*args: object) -> None:
        raise OperationalError("planted")

    _, key = ApiKey.objects.issue(owner, label="laptop")
    monkeypatch.setattr(ApiKeyQuerySet, "revoke", away)
    monkeypatch.setattr(ImageQuerySet, "visible_to", away)
    client = Client(raise_request_exception=False, HTTP_AUTHORIZATION=key)
    # The one is the API, the other a page.
    answer = client.delete("/api_keys/laptop") if method == "delete" else client.get("/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert "planted" not in answer.content.decode()


@pytest.mark.parametrize("name", ["Cookie", "Authorization", "X-Chutes-Hotkey", "Host"])
@pytest.mark.parametrize("body", ["", "Content-Length: 3\r\n\r\nabc"])
def test_a_null_character_in_a_header_is_a_bad_request(
    instance: Instance, name: str, body: str
) -> None:
    with socket.create_connection(("127.0.0.1", instance.port), timeout=10) as raw:
        head = f"POST /images/ HTTP/1.1\r\n{name}: sessionid=aaaaaaaa\0\r\n"
        raw.sendall((head + (body or "Content-Length: 0\r\n\r\n")).encode())
        with raw.makefile("rb") as stream:
            said = stream.read()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b'{"detail": "' in said


def test_a_host_that_is_not_ours_is_a_bad_request() -> None:
    answer = Client().get("/images/", HTTP_HOST="evil.example")
    assert (answer.status_code, answer.json()) == (
        400,
        {"detail": "Bad Request", "code": "bad_request"},
    )
