"""Keys that users make for themselves, as the command line asks for them."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from tests.accounts.keypair import Keypair

pytestmark = pytest.mark.django_db

SIGNER = Keypair()
ONE = "49ed040e-b58b-486e-808c-5fd84b0c70f6"
MISSING = {"detail": "API key not found, or does not belong to you", "code": "key_not_found"}


def client_with(user: User, **options: Any) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=ApiKey.objects.issue(user, label="first", **options)[1])
    return client


@pytest.fixture
def client(owner: User) -> APIClient:
    return client_with(owner)


def make(client: APIClient, **values: Any) -> Any:
    return client.post("/api_keys/", {"name": "laptop", **values}, format="json")


def scoped(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"admin": False, "scopes": list(rows)}


def test_a_new_key_tells_its_secret_once_and_opens(client: APIClient, owner: User) -> None:
    answer = make(client, admin=True)
    assert answer.status_code == 200
    secret = answer.json()["secret_key"]
    assert (answer.json()["name"], answer.json()["admin"]) == ("laptop", True)
    fresh = APIClient()
    fresh.credentials(HTTP_AUTHORIZATION=f"Basic {secret}")
    assert fresh.get("/users/me").json()["username"] == "owner"
    for told in (fresh.get("/api_keys/"), fresh.get("/api_keys/laptop")):
        assert secret.rpartition(".")[2] not in told.content.decode()


def test_keys_are_made_listed_read_and_ended_with_signatures_alone(owner: User) -> None:
    owner.hotkey = SIGNER.hotkey
    owner.save()
    client = APIClient()
    body = json.dumps({"name": "signed", "admin": False, **scoped(
        {"object_type": "images", "action": "read"}, {"action": "read", "object_type": "images"}
    )}).encode()  # fmt: skip
    made = client.post("/api_keys/", body, content_type="application/json", **SIGNER.headers(body))
    assert made.status_code == 200, made.json()
    assert made.json()["scopes"] == [{"object_type": "images", "object_id": None, "action": "read"}]
    listed = client.get("/api_keys/?limit=25&page=0", **SIGNER.headers("api_keys")).json()
    assert (listed["total"], listed["items"][0]["api_key_id"]) == (1, made.json()["api_key_id"])
    read = client.get("/api_keys/signed", **SIGNER.headers("api_keys"))
    assert read.json()["api_key_id"] == made.json()["api_key_id"]
    ended = client.delete("/api_keys/signed", **SIGNER.headers("api_keys"))
    assert (ended.status_code, ended.json()["deleted"]) == (200, True)
    assert client.get("/api_keys/", **SIGNER.headers("images")).status_code == 401


@pytest.mark.parametrize(
    ("row", "granted"),
    [
        ({"object_type": "images", "action": "write"}, ["images:write"]),
        (
            {"object_type": "images", "action": None},
            ["images:delete", "images:read", "images:write"],
        ),
        (
            {"object_type": "images", "object_id": ONE.upper(), "action": "delete"},
            [f"images:delete:{ONE}"],
        ),
        ({"object_type": "images", "method": "GET"}, ["images:read"]),
        ({"object_type": "images", "method": "PATCH", "action": None}, ["images:write"]),
        (
            {"object_type": "images", "method": None},
            ["images:delete", "images:read", "images:write"],
        ),
    ],
)
def test_the_command_lines_scopes_become_ours_and_back(
    client: APIClient, row: dict[str, Any], granted: list[str]
) -> None:
    answer = make(client, **scoped(row))
    assert answer.status_code == 200
    assert ApiKey.objects.get(label="laptop").scopes == granted
    assert [each["action"] for each in answer.json()["scopes"]] == [
        each.split(":")[1] for each in granted
    ]


@pytest.mark.parametrize(
    ("order", "location"),
    [
        (scoped({"object_type": "chutes", "action": "read"}), ["scopes", 0, "object_type"]),
        (scoped({"object_type": "images", "action": "invoke"}), ["scopes", 0, "action"]),
        (scoped({"object_type": "images", "object_id": "x"}), ["scopes", 0, "object_id"]),
        (scoped({"object_type": "images", "object_id": False}), ["scopes", 0, "object_id"]),
        (scoped({"object_type": "images", "method": "get"}), ["scopes", 0, "method"]),
        (scoped({"object_type": "images", "method": ["GET"]}), ["scopes", 0, "method"]),
        (scoped({"action": "read"}), ["scopes", 0, "object_type"]),
        (scoped({"object_type": "images"}, {}), ["scopes", 1, "object_type"]),
        (scoped(), ["scopes"]),
        ({"admin": False}, ["scopes"]),
        ({"admin": False, "scopes": "images"}, ["scopes"]),
        ({"admin": "true"}, ["admin"]),
        ({"admin": True, "name": ""}, ["name"]),
        ({"admin": True, "name": "a" * 81}, ["name"]),
        ({"admin": True, "name": "a\0"}, ["name"]),
        ({"admin": True, "name": 3}, ["name"]),
    ],
)
def test_an_order_that_makes_no_sense_here_is_refused_by_field(
    client: APIClient, order: dict[str, Any], location: list[Any]
) -> None:
    answer = make(client, **order)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", *location]
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("body", ["", "{", "[]", '"x"', "\xff", '{"name": "\\ud800"}', "NaN"])
def test_a_body_that_is_no_object_in_json_is_refused(client: APIClient, body: str) -> None:
    answer = client.post("/api_keys/", body.encode("latin-1"), content_type="application/json")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


def test_a_key_that_is_not_for_everything_cannot_touch_keys(owner: User) -> None:
    bound = ["images:read", "images:write", "images:delete"]
    client = client_with(owner, scopes=bound)
    for answer in (
        make(client, admin=True),
        make(client, **scoped({"object_type": "images", "action": "read"})),
        client.get("/api_keys/"),
        client.get("/api_keys/first"),
        client.delete("/api_keys/first"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "insufficient_scope")
    assert client.get("/users/me").status_code == 200
    assert ApiKey.objects.usable().count() == 1


def test_a_key_makes_none_that_outlives_it(owner: User) -> None:
    soon = timezone.now() + timedelta(hours=1)
    client = client_with(owner, expires_at=soon)
    assert make(client, admin=True).status_code == 200
    assert ApiKey.objects.get(label="laptop").expires_at == soon


def test_a_name_is_good_for_one_key_until_it_is_ended(client: APIClient, stranger: User) -> None:
    make(client, admin=True)
    answer = make(client, admin=True)
    assert answer.status_code == 409
    assert "laptop" in answer.json()["detail"]
    assert make(client_with(stranger), admin=True).status_code == 200
    client.delete("/api_keys/laptop")
    assert make(client, admin=True).status_code == 200


def test_an_ended_key_ends_at_once_and_is_gone(client: APIClient) -> None:
    made = make(client, admin=True).json()
    theirs = APIClient()
    theirs.credentials(HTTP_AUTHORIZATION=made["secret_key"])
    assert theirs.get("/users/me").status_code == 200
    assert client.delete(f"/api_keys/{made['api_key_id']}").status_code == 200
    assert theirs.get("/users/me").status_code == 401
    for answer in (client.get("/api_keys/laptop"), client.delete("/api_keys/laptop")):
        assert (answer.status_code, answer.json()) == (404, MISSING)


def test_nobody_reads_or_ends_the_keys_of_somebody_else(client: APIClient, stranger: User) -> None:
    make(client, admin=True)
    theirs = client_with(stranger)
    key = ApiKey.objects.get(label="laptop")
    for ref in ("laptop", str(key.pk), key.pk.hex):
        assert theirs.get(f"/api_keys/{ref}").json() == MISSING
        assert theirs.delete(f"/api_keys/{ref}").status_code == 404
    assert [each["name"] for each in theirs.get("/api_keys/").json()["items"]] == ["first"]
    assert ApiKey.objects.usable().count() == 3


def test_a_key_that_is_not_there_is_not_found(client: APIClient) -> None:
    for ref in ("nothing", str(uuid4()), "a/b", "%00", "%ff"):
        assert client.get(f"/api_keys/{ref}").json() == MISSING


def test_keys_are_listed_by_part_of_their_name_newest_first(
    client: APIClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for name in ("ci one", "CI two", "other"):
        make(client, name=name, admin=True)
    found = client.get("/api_keys/?name=ci").json()
    assert [each["name"] for each in found["items"]] == ["CI two", "ci one"]
    assert client.get("/api_keys/?limit=101").status_code == 422
    with django_assert_num_queries(3):
        client.get("/api_keys/?limit=1")
    with django_assert_num_queries(3):
        assert client.get("/api_keys/?limit=4").json()["total"] == 4


def test_somebody_is_told_who_they_are(owner: User) -> None:
    owner.hotkey = SIGNER.hotkey
    owner.save()
    client = APIClient()
    answer = client.get("/users/me", **SIGNER.headers("me"))
    assert answer.status_code == 200
    found = answer.json()
    assert (found["username"], found["user_id"]) == ("owner", str(owner.pk))
    assert (found["hotkey"], found["permissions"]) == (SIGNER.hotkey, [])
    assert found["permissions_bitmask"] == 0
    assert "password" not in found
    assert client.get("/users/me", **SIGNER.headers("images")).status_code == 401
    assert client.get("/users/me").status_code == 401


def test_a_key_ends_when_it_was_asked_to(owner: User) -> None:
    client = client_with(owner)
    asked = "2999-01-02T03:04:05+02:00"
    answer = make(client, name="dated", admin=True, expires_at=asked)
    assert (answer.status_code, answer.json()["expires_at"]) == (200, "2999-01-02T01:04:05Z")
    before = timezone.now()
    answer = make(client, name="short", admin=True, ttl=90)
    ends = ApiKey.objects.get(label="short").expires_at
    assert ends is not None
    assert timedelta(seconds=90) <= ends - before < timedelta(seconds=150)
    key = ApiKey.objects.filter(label="short")
    secret = answer.json()["secret_key"]
    fresh = APIClient()
    fresh.credentials(HTTP_AUTHORIZATION=secret)
    assert fresh.get("/users/me").status_code == 200
    key.update(expires_at=timezone.now())
    assert fresh.get("/users/me").status_code == 401
    assert make(client, name="forever", admin=True, ttl=None).json()["expires_at"] is None


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": 99999999999}, "expires_at"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": 10**12}, "ttl"),
        ({"ttl": "a"}, "ttl"),
        ({"ttl": 60, "expires_at": "2999-01-01T00:00:00Z"}, "ttl"),
        ({"expires": 60}, "expires"),
    ],
)
def test_an_end_that_cannot_be_is_named(owner: User, sent: dict[str, Any], field: str) -> None:
    answer = make(client_with(owner), name="dated", admin=True, **sent)
    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["detail"]] == [["body", field]]


def test_a_key_outlives_the_one_that_makes_it_not_even_where_that_is_asked_for(
    owner: User,
) -> None:
    soon = timezone.now() + timedelta(hours=1)
    client = client_with(owner, expires_at=soon)
    assert make(client, name="later", admin=True, ttl=7200).status_code == 200
    assert ApiKey.objects.get(label="later").expires_at == soon


def test_fields_of_the_reference_server_are_tolerated_in_scopes_and_others_named(
    owner: User,
) -> None:
    client = client_with(owner)
    row = {"object_type": "images", "action": "read", "scope_id": "x", "method": "GET"}
    assert make(client, name="theirs", scopes=[row]).status_code == 200
    answer = make(client, name="wrong", scopes=[{**row, "objekt": "x"}], colour="red")
    assert answer.status_code == 422
    assert [(each["loc"], each["type"]) for each in answer.json()["detail"]] == [
        (["body", "scopes", 0, "objekt"], "extra_forbidden"),
        (["body", "colour"], "extra_forbidden"),
    ]
    assert "there are: name, admin, scopes" in answer.json()["detail"][1]["msg"]
